"""Rollback of a run that diverged to a checkpoint from before the trouble."""

import sys
from pathlib import Path

import torch

from training.data.dataset import generator
from training.loop.monitor import Diverged
from training.loop.state import TrainState
from training.run import checkpoint

MOST_ROLLBACKS = 3


def roll_back(state: TrainState, trouble: Diverged) -> None:
    """Restore the last checkpoint before the trouble, halve the learning rates and change the seed.

    If all checkpoints are from after the onset, the oldest one is restored.

    Raises:
        Diverged: there is no checkpoint, or the run was rolled back too often.
    """
    world, count, checkpoints = state.world, state.rollbacks + 1, state.config.folder / "checkpoints"
    found = world.broadcast(world.on_main(lambda: _before(checkpoints, trouble.onset)))
    if found is None or count > MOST_ROLLBACKS:
        raise trouble
    state.load_state_dict(*found)
    state.rollbacks = count
    for optimizer in state.trainer.optimizers.values():
        for group in optimizer.param_groups:
            group["initial_lr"] /= 2
    torch.manual_seed(int(generator(state.config.train.seed, count).initial_seed()))
    world.on_main(lambda: _save_anew(state, checkpoints))
    message = f"{trouble}; rolled back to step {state.done} with halved learning rates"
    print(f"warning: {message}", file=sys.stderr)


def _before(checkpoints: Path, onset: int) -> tuple[int, checkpoint.State] | None:
    kept = checkpoint.steps(checkpoints)
    return checkpoint.load(checkpoints, max(onset, min(kept))) if kept else None


def _save_anew(state: TrainState, checkpoints: Path) -> None:
    checkpoint.drop(checkpoints, after=state.done)
    state.save()
