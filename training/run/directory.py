"""A run's folder: whose it is, and held by one process at a time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from serving.system.files import PARTIAL, sweep
from training.run.config import CARD, Card


@contextmanager
def held(card: Card) -> Iterator[Path]:
    """Hold the folder of a run while the block runs, swept of what a killed run left half written.

    Raises:
        ValueError: it holds another run or something else, or another process holds it.
    """
    folder = card.folder
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        _must_be_ours(card, folder)
        sweep(folder, folder / "checkpoints", folder / "sheets")
        yield folder


def _must_be_ours(card: Card, folder: Path) -> None:
    if not (folder / CARD).exists():
        if others := {path.name for path in folder.iterdir()} - {"lock", "holder", CARD + PARTIAL}:
            raise ValueError(f"{folder} holds {min(others)} and no run; choose another --out")
    elif differences := card.differences(Card.read(folder)):
        raise ValueError(f"{folder} holds another run ({'; '.join(differences)}); choose another --out")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder while the block runs; the lock goes with the process, however it ends.

    Raises:
        ValueError: another process has it locked.
    """
    lock, holder = filelock.FileLock(folder / "lock"), folder / "holder"
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        pid = holder.read_text() if holder.exists() else "unknown"
        raise ValueError(f"{folder} is in use by process {pid}") from None
    try:
        holder.write_text(str(os.getpid()))
        yield
    finally:
        lock.release()
