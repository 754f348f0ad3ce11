"""The training loop, the same for every entry: batch, step, average, log, score, checkpoint."""

import signal
import sys
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from serving.errors import UserError
from serving.system.progress import progress
from serving.system.signals import Interrupted, noted
from training.data.dataset import Dataset, Loader
from training.data.loader import open_loader
from training.evaluation.validator import Validator, open_validator, standing
from training.loop.autotune import autotune
from training.loop.compute import only_deterministic
from training.loop.data import open_run_data, with_fingerprint
from training.loop.distributed import process_group
from training.loop.fine_tune import freeze, start
from training.loop.monitor import Diverged, must_be_finite
from training.loop.rollback import roll_back
from training.loop.schedule import describe_change, describe_end
from training.loop.state import TrainState
from training.run import checkpoint
from training.run.config import RunConfig
from training.run.directory import held
from training.run.logger import RunLogger, Speed
from training.run.scores import read_scores
from training.run.train_config import TrainConfig


def train(config: RunConfig, restart: bool = False) -> Path | None:
    """Train or resume a run until all its steps are done, or its patience is exhausted.

    Args:
        config: configuration of the run.
        restart: remove the checkpoints and logs of an earlier run of this configuration, and start again.

    Returns:
        The run's folder on rank 0, None on other ranks.

    Raises:
        UserError: the folder holds another run or a damaged one, or the data or the device can't be used.
        Diverged: a number is NaN or infinite, or rollbacks did not help.
        Interrupted: SIGINT or SIGTERM was received and a checkpoint is written.
    """
    with (
        process_group() as world,
        # The fingerprint comes first: `held` compares it with an earlier run's before anything is removed.
        held(config := with_fingerprint(config), restart)
        if world.is_main
        else nullcontext(config.folder) as folder,
    ):
        world.must_divide(config.entry.batch_size)
        config, data = open_run_data(config, world, folder)
        _must_suit(config, data)
        config = autotune(config, world, data)
        found = world.broadcast(world.on_main(lambda: checkpoint.load(folder / "checkpoints")))
        if found is None:
            state = start(config, world, data)
        else:
            state = TrainState(config, world)
            freeze(state.trainer.discriminators, config.train.freeze_discriminator)
            state.load_state_dict(*found)
        if state.done < config.train.steps and not _is_exhausted(state):
            world.on_main(partial(_write_config, state.config, state.done))
            at_work = open_loader(data, state.device, config.train.workers)
            with only_deterministic(), noted() as received, at_work as batches:
                _run(state, batches, folder, received)
        return config.folder if world.is_main else None


def _write_config(config: RunConfig, done: int) -> None:
    """Write `run.json`, and print what is unusual about the schedule of the learning rates."""
    earlier = RunConfig.read(config.folder) if done else config
    for notice in (describe_change(config, earlier, done), describe_end(config)):
        if notice:
            print("note:", notice, file=sys.stderr)
    config.write()


def _is_exhausted(state: TrainState) -> bool:
    """Return whether the run's patience is exhausted, and print it; all processes must call this."""
    patience, done = state.config.train.patience, state.done
    if not patience:
        return False
    scores = state.world.on_main(lambda: read_scores(state.config.folder, latest=done))
    if scores and scores.exhaust(patience):
        print(
            f"stopped at step {done} by --patience {patience}: no later score was better than that of step "
            f"{scores.best.step}; raise or remove --patience to train on",
            file=sys.stderr,
        )
    return state.world.any(scores is not None and scores.exhaust(patience))


def _run(state: TrainState, batches: Loader, folder: Path, received: list[int]) -> None:
    """Train to the end, with rollbacks if the configuration asks for them.

    Raises:
        Diverged: the run diverged and can't be rolled back.
        Interrupted: a signal was received.
    """
    run, world = state.config.train, state.world
    validator = world.on_main(lambda: _open_validator(state))
    while True:
        try:
            with closing(RunLogger(folder, state.done)) if world.is_main else nullcontext() as logger:
                _train_on(state, batches, logger, validator, received)
            return
        except Diverged as trouble:
            if run.on_collapse != "rollback":
                raise
            roll_back(state, trouble)


def _open_validator(state: TrainState) -> Validator | None:
    config = state.config
    return open_validator(config, state.pipeline, state.device) if config.train.score_every else None


def _must_suit(config: RunConfig, data: Dataset) -> None:
    """Check that the data have the structure and the number of classes that the entry needs.

    Raises:
        UserError: they do not.
    """
    wants = config.entry.learns_from
    if data.kind != wants and (wants, data.kind) != ("domains", "pairs"):
        raise UserError(f"{config.name} trains on {wants}; {data.name} has {data.kind}; use other data")
    if "label" in config.entry.conditions and not data.labels:
        raise UserError(
            f"{config.name} needs data with classes; {data.name} has none; use data with labels, such as a "
            "folder with a subfolder for each class"
        )
    if config.entry.classes not in (0, len(data.labels)):
        raise UserError(
            f"{config.name} needs data of {config.entry.classes} classes; {data.name} has "
            f"{len(data.labels)}; use other data or another --classes, or none for as many as the data have"
        )


class Due(NamedTuple):
    """The actions that are due after a step, in this order."""

    logs: bool
    scores: bool
    draws: bool
    saves: bool


def _due(run: TrainConfig, done: int, stopping: bool) -> Due:
    last = done == run.steps
    logs, draws, saves = (
        stopping or last or done % every == 0
        for every in (run.log_every, run.sheet_every, run.checkpoint_every)
    )
    return Due(logs, bool(run.score_every) and (last or done % run.score_every == 0), draws, saves)


def _train_on(
    state: TrainState,
    batches: Loader,
    logger: RunLogger | None,
    validator: Validator | None,
    received: list[int],
) -> None:
    """Train until all steps are done, patience is exhausted, a signal arrives or the run diverges.

    Only rank 0 logs, scores, draws sheets and writes checkpoints.

    Raises:
        Diverged: the run diverged or collapsed.
        Interrupted: a signal was received.
    """
    config, run, world = state.config, state.config.train, state.world
    speed = Speed(state.done, config.entry.examples_per_step)
    with progress(run.steps, config.name, "steps", state.done) as advance:
        while state.done < run.steps:
            scalars = state.step(batches)
            stopping = world.any(bool(received))
            due = _due(run, state.done, stopping)
            shown: dict[str, float] | None = None
            if any(due) and logger:
                shown = world.on_main(partial(_look, state, scalars, logger, validator, speed, due))
            elif any(due):
                world.wait_for_main()
            advance(**shown or {})
            if stopping:
                raise Interrupted(received[0] if received else signal.SIGTERM, "a checkpoint is saved")
            if due.scores and _is_exhausted(state):
                break
    if logger and (scores := read_scores(logger.folder)):
        print(standing(config, scores), file=sys.stderr)


def _look(
    state: TrainState,
    scalars: dict[str, torch.Tensor],
    logger: RunLogger,
    validator: Validator | None,
    speed: Speed,
    due: Due,
) -> dict[str, float]:
    """Log, score, draw sheets and write a checkpoint, each if due; return the step's scalars.

    Raises:
        Diverged: the run diverged or collapsed.
    """
    done, monitor, trainer, average = state.done, state.monitor, state.trainer, state.average
    run = state.config.train
    shown: dict[str, float] = {}
    if due.logs or due.scores or due.saves:
        # Reading the scalars synchronises with the device, so it is not done at every step.
        shown = {name: float(value) for name, value in scalars.items()}
        must_be_finite(
            done, shown, trainer.generators, trainer.discriminators, trainer.helpers, average.generators
        )
        monitor.losses(done, shown)
    if due.logs:
        logger.scalars(done, shown | state.learning_rates() | speed.since(done))
    if validator and due.scores:
        logger.scalars(done, validator.measure())
        scores = read_scores(logger.folder)
        assert scores
        monitor.score(done, scores.history, scores.reference)
        ends, is_best = scores.exhaust(run.patience), run.keep_best and scores.best.step == done
        due = due._replace(draws=due.draws or ends, saves=due.saves or ends or is_best)
        speed.restart(done)
    if due.draws:
        for sheet in state.sheets():
            logger.sheet(done, *sheet)
    if due.saves:
        monitor.samples(done, state.look())
        state.save()
    return shown
