"""A run's folder: its configuration, checkpoints and logs."""
