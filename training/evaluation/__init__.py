"""Scores of samples and translations, at the end of a run and during it."""
