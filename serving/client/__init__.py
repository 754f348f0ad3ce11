"""Clients of the server: the methods of a pipeline, over HTTP."""
