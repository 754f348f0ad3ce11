"""Locks on folders, each held by one process at a time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from serving.errors import UserError

LOCK_FILES = frozenset({"lock", "holder"})
"""Files of a lock in its folder: the locked file, and the id of the process that holds the lock."""


class InUseError(UserError):
    """Another process has the folder locked."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder while the block runs; the lock is released when the process ends, even if killed.

    Raises:
        InUseError: another process holds the lock; the message has its id.
    """
    lock, holder = filelock.FileLock(folder / "lock"), folder / "holder"
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        pid = holder.read_text() if holder.exists() else "unknown"
        raise InUseError(f"{folder} is in use by process {pid}; wait for it to end") from None
    try:
        holder.write_text(str(os.getpid()))
        yield
    finally:
        lock.release()
