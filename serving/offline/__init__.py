"""Artifacts used without a server: files of samples and of translations, from a few to millions."""
