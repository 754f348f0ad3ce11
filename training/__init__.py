"""Training, evaluation and export of the zoo's models with PyTorch."""
