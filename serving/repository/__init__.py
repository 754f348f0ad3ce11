"""The model repository: every artifact of a server, loaded, batched and reloaded while it serves."""
