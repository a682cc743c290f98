"""What the benchmark's commands share."""
