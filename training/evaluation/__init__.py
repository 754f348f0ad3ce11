"""Scores of samples and translations, during training and after it."""
