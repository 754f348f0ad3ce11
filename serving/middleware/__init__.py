"""Middleware: HTTP connections, limits, hosts, origins, auth, errors, deadline and log of every request."""
