"""The entries of the zoo, one file a paper."""
