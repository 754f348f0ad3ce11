"""The operating system: durable files, locks, signals, processors and progress."""
