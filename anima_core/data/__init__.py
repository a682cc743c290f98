"""From files to batches of token segments."""
