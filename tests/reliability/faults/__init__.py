"""Faults around the server: a full disk, a log that nobody reads, too little memory, and late clients."""
