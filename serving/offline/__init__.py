"""Offline inference: files of samples and of translations, from a few to millions."""
