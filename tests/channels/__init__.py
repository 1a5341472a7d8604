"""The channel engine, module by module."""
