"""The core's own loss and log-prob kernel."""
