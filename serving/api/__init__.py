"""The HTTP API: routes, request types and response types."""
