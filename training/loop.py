"""The loop, the same for every entry: draw a batch, step, average, look, save."""

import dataclasses
import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import torch

from training import checkpoint
from training.config import CARD, Card, find_device
from training.data import Data, open_data
from training.durable import PARTIAL, sweep
from training.ema import MovingAverage
from training.progress import Advance, progress
from training.record import Record
from zoo.entry import Inputs, Trainer

PROBE_SIZE = 64


class Diverged(ArithmeticError):
    """A loss or a weight is no longer a finite number; what is saved is from before."""

    exit_status = 3


class Interrupted(Exception):
    """A signal asked the run to stop; it did, after a checkpoint.

    Attributes:
        signal: the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} after a checkpoint")
        self.signal, self.exit_status = number, 128 + number


class Training:
    """A run in memory: what a checkpoint holds."""

    probe: Inputs
    """The fixed inputs that the run is watched through, and that an export is proven on."""

    def __init__(self, card: Card) -> None:
        self.card, self.done = card, 0
        self.device = find_device(card.run.device)
        torch.manual_seed(card.run.seed)
        self.trainer: Trainer = card.entry.build(self.device)
        self.average = MovingAverage(self.trainer.generators, card.run.ema)
        for optimizer in self.trainer.optimizers.values():
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]

    @property
    def columns(self) -> int:
        """Pictures in a row of the probe's sheet, which is a class where there are classes."""
        return math.ceil(PROBE_SIZE / self.card.entry.classes) if self.card.entry.classes else 8

    def draw_probe(self, data: Data) -> None:
        """Draw the probe for the data; torch's random state is as before."""
        before = checkpoint.random_state(self.device)
        rows = max(self.card.entry.classes, PROBE_SIZE // self.columns)
        batch = data.batch(0, rows * self.columns)
        batch["label"] = torch.arange(rows, device=self.device).repeat_interleave(self.columns)
        self.probe = self.trainer.inputs(batch)
        checkpoint.restore_random_state(before, self.device)

    def step(self, data: Data) -> dict[str, torch.Tensor]:
        """Train on the next batch."""
        factor = self.card.entry.learning_rate_at(self.done / self.card.run.steps)
        for optimizer in self.trainer.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
        scalars = self.trainer.step(data.batch(self.done, self.card.entry.examples_per_step))
        self.average.update(self.trainer.generators, self.done)
        self.done += 1
        return scalars

    def state(self) -> checkpoint.State:
        """Take everything that a bit-equal continuation needs."""
        return {
            "generators": self.trainer.generators.state_dict(),
            "discriminators": self.trainer.discriminators.state_dict(),
            "optimizers": {name: opt.state_dict() for name, opt in self.trainer.optimizers.items()},
            "trainer": self.trainer.state_dict(),
            "average": self.average.generators.state_dict(),
            "probe": self.probe,
            "random": checkpoint.random_state(self.device),
        }

    def restore(self, done: int, state: checkpoint.State) -> None:
        """Continue from a state."""
        self.done = done
        self.trainer.generators.load_state_dict(state["generators"])
        self.trainer.discriminators.load_state_dict(state["discriminators"])
        for name, optimizer in self.trainer.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.trainer.load_state_dict(state["trainer"])
        self.average.generators.load_state_dict(state["average"])
        self.probe = {
            name: {key: value.to(self.device) for key, value in inputs.items()}
            for name, inputs in state["probe"].items()
        }
        checkpoint.restore_random_state(state["random"], self.device)


def train(card: Card) -> None:
    """Train, or resume, the run of a folder until it has all its steps.

    Raises:
        ValueError: the folder holds another run, or the data or the device can't be had.
        Diverged: a loss is NaN or infinite.
        Interrupted: SIGINT or SIGTERM came; the state is saved.
    """
    folder = card.folder
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        _must_be_ours(card, folder)
        sweep(folder, folder / "checkpoints", folder / "sheets")
        data = open_data(card.run.data, card.entry.sample_shape, card.run.seed)
        _must_have_the_classes(card, data)
        card = dataclasses.replace(card, data_name=data.name, labels=data.labels, licence=data.licence)
        training = Training(card)
        data = data.to(training.device)
        if (found := checkpoint.load(folder / "checkpoints")) is None:
            training.draw_probe(data)
        else:
            training.restore(*found)
        card.write()
        record = Record(folder, training.done)
        try:
            shown = progress(card.run.steps, card.name, "steps", training.done)
            with shown as advance, _signals() as received:
                _run(training, data, record, folder, advance, received)
        finally:
            record.close()


def _must_be_ours(card: Card, folder: Path) -> None:
    """Refuse a folder that holds another run, or something else."""
    if not (folder / CARD).exists():
        if others := {path.name for path in folder.iterdir()} - {"lock", "holder", CARD + PARTIAL}:
            raise ValueError(f"{folder} holds {min(others)} and no run; choose another --out")
    elif differences := card.differences(Card.read(folder)):
        raise ValueError(f"{folder} holds another run ({'; '.join(differences)}); choose another --out")


def _must_have_the_classes(card: Card, data: Data) -> None:
    """Refuse data that don't have as many classes as the entry is told apart by."""
    if card.entry.classes not in (0, len(data.labels)):
        raise ValueError(
            f"{card.name} wants data of {card.entry.classes} classes; {data.name} has "
            f"{len(data.labels) or 'none'}: use other data, or --classes"
        )


def _run(
    training: Training, data: Data, record: Record, folder: Path, advance: Advance, received: list[int]
) -> None:
    run, examples = training.card.run, training.card.entry.examples_per_step
    measured, start = training.done, time.perf_counter()
    while training.done < run.steps:
        scalars = training.step(data)
        done, stopping = training.done, bool(received)
        last = stopping or done == run.steps
        logs, draws, saves = (
            last or done % every == 0 for every in (run.log_every, run.sheet_every, run.checkpoint_every)
        )
        shown: dict[str, float] = {}
        if logs or saves:
            # Reading the scalars waits for the device, so it is not done at every step.
            shown = {name: float(value) for name, value in scalars.items()}
            _must_be_finite(training, shown)
        if logs:
            rate = (done - measured) * examples / (time.perf_counter() - start)
            measured, start = done, time.perf_counter()
            record.scalars(done, shown | {"samples_per_second": rate})
        if draws:
            record.sheet(done, training.average.generators, training.probe, training.columns)
        if saves:
            checkpoint.save(folder / "checkpoints", done, training.state(), run.keep)
        advance(**shown)
        if stopping:
            raise Interrupted(received[0])


def _must_be_finite(training: Training, scalars: dict[str, float]) -> None:
    """Refuse to go on from a number that is none, in the losses or in the weights about to be saved."""
    for name, value in scalars.items():
        if not math.isfinite(value):
            raise Diverged(f"{name} is {value} at step {training.done}; what is saved is from before")
    for players in (training.trainer.generators, training.trainer.discriminators):
        for name, weights in players.named_parameters():
            if not torch.isfinite(weights).all():
                raise Diverged(f"{name} is not finite at step {training.done}; what is saved is from before")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder against a second run; the lock goes with the process, however it ends."""
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


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of the first; a second one ends the process at once."""
    received: list[int] = []
    previous: dict[int, Any] = {}

    def note(number: int, frame: object) -> None:
        received.append(number)
        for each in previous:
            signal.signal(each, signal.SIG_DFL)

    for number in (int(signal.SIGINT), int(signal.SIGTERM)):
        previous[number] = signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
