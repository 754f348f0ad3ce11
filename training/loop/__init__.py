"""The training loop and what it keeps: state, moving average, monitor, processes."""
