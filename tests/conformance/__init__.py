"""The referee, its adapters and its command."""
