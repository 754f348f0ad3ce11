"""Images: decoding, encoding, contact sheets and image files."""
