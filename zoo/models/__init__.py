"""The entries of the zoo, one file per paper."""
