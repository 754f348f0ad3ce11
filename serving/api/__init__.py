"""The HTTP contract: routes, what requests may say and what responses hold."""
