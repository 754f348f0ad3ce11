"""The operating system: atomic files, locks, signals, CPU cores and progress."""
