"""Locks on folders: one process at a time, whatever becomes of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from serving.errors import UserError

LOCK_FILES = frozenset({"lock", "holder"})
"""What a lock leaves in its folder: the file that is locked, and the number of the process that locks it."""


class InUseError(UserError):
    """Another process has the folder locked."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder while the block runs; the lock goes with the process, however it ends.

    Raises:
        InUseError: another process has it locked; it is named.
    """
    lock, holder = filelock.FileLock(folder / "lock"), folder / "holder"
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        pid = holder.read_text() if holder.exists() else "unknown"
        raise InUseError(f"{folder} is in use by process {pid}") from None
    try:
        holder.write_text(str(os.getpid()))
        yield
    finally:
        lock.release()
