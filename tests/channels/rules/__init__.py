"""What operations do with channels, family by family."""
