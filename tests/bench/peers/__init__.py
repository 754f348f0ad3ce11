"""Other servers of the same engine, each written as its own documentation says."""
