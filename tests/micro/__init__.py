"""Micro-networks: one architecture idea each, pruned and proven, or pinned with the right reason."""
