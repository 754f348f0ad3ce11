"""The training loop, its state, moving average and monitor, and distributed training."""
