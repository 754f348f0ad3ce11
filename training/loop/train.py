"""The loop, the same for every entry: draw a batch, step, average, look, save."""

import dataclasses
import signal
import sys
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from serving.system.progress import progress
from serving.system.signals import Interrupted, noted
from training.data.dataset import Batches, Data, generator, open_data
from training.data.loader import at_hand
from training.evaluation.validator import Yardstick, open_yardstick
from training.loop.distributed import joined
from training.loop.monitor import Diverged, must_be_finite
from training.loop.state import Training
from training.run import checkpoint
from training.run.config import Card, Run
from training.run.directory import held
from training.run.logger import Record, Speed

MOST_ROLLBACKS = 3


def train(card: Card) -> Path | None:
    """Train, or resume, the run of a folder until it has all its steps.

    Returns:
        The folder, in the first of the run's processes alone.

    Raises:
        ValueError: the folder holds another run, or the data or the device can't be had.
        Diverged: a loss is NaN or infinite, or going back did not help.
        Interrupted: SIGINT or SIGTERM came; the state is saved.
    """
    with joined() as processes, held(card) if processes.first else nullcontext(card.folder) as folder:
        processes.must_share(card.entry.batch_size)
        data = open_data(card.run.data, card.entry.sample_shape, card.run.seed)
        _must_suit(card, data)
        card = dataclasses.replace(card, data_name=data.name, labels=data.labels, licence=data.licence)
        training = Training(card, processes)
        found = processes.tell(processes.lead(lambda: checkpoint.load(folder / "checkpoints")))
        if found is None:
            training.draw_probe(data)
        else:
            training.restore(*found)
        processes.lead(card.write)
        if training.done < card.run.steps:
            # Of cuDNN's algorithms only those that give the same bits every time.
            same = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)
            at_work = at_hand(data, training.device, card.run.workers)
            with same, noted() as received, at_work as batches:
                _run(training, batches, folder, received)
        return card.folder if processes.first else None


def _run(training: Training, batches: Batches, folder: Path, received: list[int]) -> None:
    """Train to the end, going back from trouble where that is asked for.

    Raises:
        Diverged: there was trouble, and no way back from it.
        Interrupted: a signal has been received.
    """
    run, processes = training.card.run, training.processes
    yardstick = processes.lead(lambda: _open_yardstick(training))
    while training.done < run.steps:
        try:
            with closing(Record(folder, training.done)) if processes.first else nullcontext() as record:
                _train_on(training, batches, record, yardstick, received)
        except Diverged as trouble:
            if run.on_collapse != "rollback":
                raise
            _roll_back(training, folder / "checkpoints", trouble)


def _open_yardstick(training: Training) -> Yardstick | None:
    card = training.card
    return open_yardstick(card, training.pipeline, training.device) if card.run.score_every else None


def _must_suit(card: Card, data: Data) -> None:
    """Refuse data that are not made up as the entry wants them, or don't have its classes."""
    wants = card.entry.learns_from
    if data.kind != wants and (wants, data.kind) != ("domains", "pairs"):
        raise ValueError(f"{card.name} learns from {wants}; {data.name} is made up of {data.kind}")
    if card.entry.classes not in (0, len(data.labels)):
        raise ValueError(
            f"{card.name} wants data of {card.entry.classes} classes; {data.name} has "
            f"{len(data.labels) or 'none'}: use other data, or --classes"
        )


class Due(NamedTuple):
    """What a step is followed by, in this order."""

    logs: bool
    scores: bool
    draws: bool
    saves: bool


def _due(run: Run, done: int, stopping: bool) -> Due:
    last = done == run.steps
    logs, draws, saves = (
        stopping or last or done % every == 0
        for every in (run.log_every, run.sheet_every, run.checkpoint_every)
    )
    return Due(logs, bool(run.score_every) and (last or done % run.score_every == 0), draws, saves)


def _train_on(
    training: Training,
    batches: Batches,
    record: Record | None,
    yardstick: Yardstick | None,
    received: list[int],
) -> None:
    """Train to the end, a signal, or trouble; the first process looks at what comes of it."""
    card, run, processes = training.card, training.card.run, training.processes
    speed = Speed(training.done, card.entry.examples_per_step)
    with progress(run.steps, card.name, "steps", training.done) as advance:
        while training.done < run.steps:
            scalars = training.step(batches)
            stopping = processes.any(bool(received))
            due = _due(run, training.done, stopping)
            shown: dict[str, float] | None = None
            if any(due) and record:
                shown = processes.lead(partial(_look, training, scalars, record, yardstick, speed, due))
            elif any(due):
                processes.follow()
            advance(**shown or {})
            if stopping:
                raise Interrupted(received[0] if received else signal.SIGTERM, "a checkpoint is saved")
    if yardstick and record:
        print(yardstick.standing(record.history(yardstick.name)), file=sys.stderr)


def _look(
    training: Training,
    scalars: dict[str, torch.Tensor],
    record: Record,
    yardstick: Yardstick | None,
    speed: Speed,
    due: Due,
) -> dict[str, float]:
    """Log, score, draw and save what is due after a step; give its scalars.

    Raises:
        Diverged: the run went wrong.
    """
    done, watch, trainer, average = training.done, training.watch, training.trainer, training.average
    shown: dict[str, float] = {}
    if due.logs or due.scores or due.saves:
        # Reading the scalars waits for the device, so it is not done at every step.
        shown = {name: float(value) for name, value in scalars.items()}
        must_be_finite(done, shown, trainer.generators, trainer.discriminators, average.generators)
        watch.losses(done, shown)
    if due.logs:
        record.scalars(done, shown | speed.since(done))
    if yardstick and due.scores:
        record.scalars(done, yardstick.measure())
        watch.score(done, record.history(yardstick.name), yardstick.floor)
        speed.restart(done)
    if due.draws:
        for name, pixels in training.sheets():
            record.sheet(done, name, pixels)
    if due.saves:
        watch.samples(done, training.look())
        checkpoint.save(record.folder / "checkpoints", done, training.state(), training.card.run.keep)
    return shown


def _roll_back(training: Training, checkpoints: Path, trouble: Diverged) -> None:
    """Go back to the last checkpoint from before the trouble, to go on slower and with other random numbers.

    Where all that are kept are from after its onset, it is the oldest of them.

    Raises:
        Diverged: there is none, or it has been done too often.
    """
    processes, count = training.processes, training.rollbacks + 1
    found = processes.tell(processes.lead(lambda: _before(checkpoints, trouble.onset)))
    if found is None or count > MOST_ROLLBACKS:
        raise trouble
    training.restore(*found)
    training.rollbacks = count
    for optimizer in training.trainer.optimizers.values():
        for group in optimizer.param_groups:
            group["initial_lr"] /= 2
    torch.manual_seed(int(generator(training.card.run.seed, count).initial_seed()))
    processes.lead(lambda: _save_anew(training, checkpoints))
    print(f"warning: {trouble}; back to step {training.done} at half the learning rates", file=sys.stderr)


def _before(checkpoints: Path, onset: int) -> tuple[int, checkpoint.State] | None:
    kept = checkpoint.steps(checkpoints)
    return checkpoint.load(checkpoints, max(onset, min(kept))) if kept else None


def _save_anew(training: Training, checkpoints: Path) -> None:
    checkpoint.drop(checkpoints, after=training.done)
    checkpoint.save(checkpoints, training.done, training.state(), training.card.run.keep)
