"""The operating system: files, locks, signals, output, sockets, memory, CPU cores and progress."""
