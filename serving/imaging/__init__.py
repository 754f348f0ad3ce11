"""Encoded images and pixels: decoding, encoding, sheets and image files."""
