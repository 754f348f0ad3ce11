"""A run's folder: whose it is, and held by one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.system.files import PARTIAL, sweep
from serving.system.locks import LOCK_FILES, locked
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
        if others := {path.name for path in folder.iterdir()} - LOCK_FILES - {CARD + PARTIAL}:
            raise ValueError(f"{folder} holds {min(others)} and no run; choose another --out")
    elif differences := card.differences(Card.read(folder)):
        raise ValueError(f"{folder} holds another run ({'; '.join(differences)}); choose another --out")
