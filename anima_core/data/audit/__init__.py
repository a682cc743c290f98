"""What a data set would teach a model, looked at before a weight is read."""
