"""From a MODEL argument to a loaded model."""
