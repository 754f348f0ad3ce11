"""The model repository: served models, dynamic batching, and reloading while the server runs."""
