"""The entries of the zoo: one file for each paper."""
