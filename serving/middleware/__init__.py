"""Middleware: API errors, deadline, disconnects, auth and access log of every request."""
