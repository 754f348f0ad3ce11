"""Locking and checking of a run's folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.errors import UserError
from serving.runtime.pretrained import RUN_FILE
from serving.system.files import must_hold_nothing_else, sweep
from serving.system.locks import locked
from training.run.config import RunConfig


@contextmanager
def held(config: RunConfig) -> Iterator[Path]:
    """Lock the folder of a run within the block and remove partial files of a killed run.

    Raises:
        UserError: the folder holds another run or other files, or another process has locked it.
    """
    folder = config.folder
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        _must_be_ours(config, folder)
        sweep(folder, folder / "checkpoints", folder / "sheets")
        yield folder


def _must_be_ours(config: RunConfig, folder: Path) -> None:
    if not (folder / RUN_FILE).exists():
        must_hold_nothing_else(folder, RUN_FILE, "run")
    elif differences := config.differences(RunConfig.read(folder)):
        listed = ", and ".join(differences)
        raise UserError(f"the folder {folder} holds another run ({listed}); choose another --out")
