"""Configuration: the core's options, run files, and how they are put together."""
