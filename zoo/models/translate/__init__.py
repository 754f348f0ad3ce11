"""Entries that translate: images to images."""
