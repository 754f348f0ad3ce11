"""Locking and checking of a run's folder."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.errors import UserError
from serving.runtime.pretrained import RUN_FILE
from serving.system.files import must_hold_nothing_else, sweep
from serving.system.locks import locked
from training.run import checkpoint
from training.run.config import RunConfig
from training.run.logger import METRICS, read_metrics

FOLDERS = ("checkpoints", "sheets", "tensorboard")


@contextmanager
def held(config: RunConfig, restart: bool = False) -> Iterator[Path]:
    """Lock the folder of a run within the block and remove partial files of a killed run.

    Args:
        config: configuration of the run.
        restart: remove what an earlier run of this configuration has written, and start again.

    Raises:
        UserError: the folder holds another run or other files, its checkpoints are missing, or another
            process has locked it.
    """
    folder = config.folder
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        if not (folder / RUN_FILE).exists():
            must_hold_nothing_else(folder, RUN_FILE, "run")
        else:
            earlier = RunConfig.read(folder)
            _must_be_ours(config, earlier)
            if restart:
                _clear(folder)
            _must_be_resumable(earlier)
        sweep(folder, folder / "checkpoints", folder / "sheets")
        yield folder


def _must_be_ours(config: RunConfig, earlier: RunConfig) -> None:
    if differences := config.differences(earlier):
        listed = ", and ".join(differences)
        raise UserError(f"the folder {config.folder} holds another run ({listed}); choose another --out")


def _must_be_resumable(run: RunConfig) -> None:
    """Check that a run without checkpoints has never had one.

    A run that was killed before it had saved its first checkpoint has logged no step after the one at which
    that was due, which is not its last.

    Raises:
        UserError: a checkpoint must have been removed.
    """
    if checkpoint.steps(run.folder / "checkpoints"):
        return
    done = max((int(line["step"]) for line in read_metrics(run.folder)), default=0)
    if done > run.train.checkpoint_every or done >= run.train.steps:
        raise UserError(
            f"the run {run.folder} has {done} steps in {METRICS} but no checkpoint to resume from; "
            "restore its checkpoints, or train with --restart to start again from step 0"
        )


def _clear(folder: Path) -> None:
    """Remove checkpoints, sheets and logs; the metrics go last, as they tell of missing checkpoints."""
    for name in FOLDERS:
        if (folder / name).exists():
            shutil.rmtree(folder / name)
    (folder / METRICS).unlink(missing_ok=True)
