"""Trials of clients that attack: malformed headers, padded images, slow uploads, storms of requests."""
