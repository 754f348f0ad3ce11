"""The command line `ganzoo`."""
