"""The loop, the same for every entry: draw a batch, step, average, look, save."""

import dataclasses
import math
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch

from serving.images import Pixels
from training import checkpoint
from training.config import Card, find_device
from training.data import Data, generator, open_data
from training.draw import Graphs
from training.ema import MovingAverage
from training.folder import held
from training.generators import graphs_of_generators
from training.pixels import all_as_served
from training.progress import Speed, progress
from training.record import Record
from training.watch import Diverged, Watch, must_be_finite
from training.yardstick import Yardstick, open_yardstick
from zoo.entry import Inputs, Trainer

PROBE_SIZES = {"sample": 64, "translate": 6}
"""Examples that a run is watched through, by its task; those of a translation are images themselves."""
MOST_ROLLBACKS = 3


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
        self.card, self.done, self.rollbacks = card, 0, 0
        self.device = find_device(card.run.device)
        torch.manual_seed(card.run.seed)
        self.trainer: Trainer = card.entry.build(self.device)
        self.watch = Watch(card.run)
        self.average = MovingAverage(self.trainer.generators, card.run.ema)
        for optimizer in self.trainer.optimizers.values():
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]

    @property
    def columns(self) -> int:
        """Examples in a row of the probe's sheet, which is a class where there are classes."""
        size, classes = PROBE_SIZES[self.card.entry.task], self.card.entry.classes
        return math.ceil(size / (classes or math.ceil(math.sqrt(size))))

    def draw_probe(self, data: Data) -> None:
        """Draw the probe for the data; torch's random state is as before."""
        before = checkpoint.random_state(self.device)
        rows = self.card.entry.classes or math.ceil(PROBE_SIZES[self.card.entry.task] / self.columns)
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

    @torch.no_grad()
    def look(self) -> torch.Tensor:
        """Give what the first averaged generator makes of its probe."""
        name, average = next(iter(self.average.generators.items()))
        samples: torch.Tensor = average(**self.probe[name])
        return samples

    @property
    def graphs(self) -> Graphs:
        """The averaged generators, as the graphs that they would become."""
        card = self.card
        return graphs_of_generators(card.entry, self.average.generators, self.probe, card.labels)

    def sheets(self) -> Iterator[tuple[str, Pixels]]:
        """Draw what the averaged generators make of the probe: a name and a picture each."""
        graphs = self.graphs
        for name, fed in self.probe.items():
            yield name, graphs.picture(name, all_as_served(fed), self.columns)

    def state(self) -> checkpoint.State:
        """Take everything that a bit-equal continuation needs."""
        return {
            "generators": self.trainer.generators.state_dict(),
            "discriminators": self.trainer.discriminators.state_dict(),
            "optimizers": {name: opt.state_dict() for name, opt in self.trainer.optimizers.items()},
            "trainer": self.trainer.state_dict(),
            "average": self.average.generators.state_dict(),
            "probe": self.probe,
            "rollbacks": self.rollbacks,
            "watch": self.watch.state_dict(),
            "random": checkpoint.random_state(self.device),
        }

    def restore(self, done: int, state: checkpoint.State) -> None:
        """Continue from a state."""
        self.done, self.rollbacks = done, state["rollbacks"]
        self.trainer.generators.load_state_dict(state["generators"])
        self.trainer.discriminators.load_state_dict(state["discriminators"])
        for name, optimizer in self.trainer.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.trainer.load_state_dict(state["trainer"])
        self.watch.load_state_dict(state["watch"])
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
        Diverged: a loss is NaN or infinite, or going back did not help.
        Interrupted: SIGINT or SIGTERM came; the state is saved.
    """
    with held(card) as folder:
        data = open_data(card.run.data, card.entry.sample_shape, card.run.seed)
        _must_suit(card, data)
        card = dataclasses.replace(card, data_name=data.name, labels=data.labels, licence=data.licence)
        training = Training(card)
        data = data.to(training.device)
        if (found := checkpoint.load(folder / "checkpoints")) is None:
            training.draw_probe(data)
        else:
            training.restore(*found)
        card.write()
        if training.done < card.run.steps:
            # Of cuDNN's algorithms only those that give the same bits every time.
            same = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)
            with same, _signals() as received:
                _run(training, data, folder, received)


def _run(training: Training, data: Data, folder: Path, received: list[int]) -> None:
    """Train to the end, going back from trouble where that is asked for.

    Raises:
        Diverged: there was trouble, and no way back from it.
        Interrupted: a signal has been received.
    """
    run = training.card.run
    yardstick = open_yardstick(training.card, training.graphs, training.device) if run.score_every else None
    while training.done < run.steps:
        try:
            with closing(Record(folder, training.done)) as record:
                _train_on(training, data, record, yardstick, received)
        except Diverged as trouble:
            if run.on_collapse != "rollback":
                raise
            _roll_back(training, folder / "checkpoints", trouble)


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


def _train_on(
    training: Training, data: Data, record: Record, yardstick: Yardstick | None, received: list[int]
) -> None:
    """Train to the end, a signal, or trouble; look, score, draw and save on the way, in this order."""
    card, run, watch = training.card, training.card.run, training.watch
    players = training.trainer.generators, training.trainer.discriminators, training.average.generators
    speed = Speed(training.done, card.entry.examples_per_step)
    with progress(run.steps, card.name, "steps", training.done) as advance:
        while training.done < run.steps:
            scalars = training.step(data)
            done, stopping = training.done, bool(received)
            last = done == run.steps
            scores = run.score_every and (last or done % run.score_every == 0)
            logs, draws, saves = (
                stopping or last or done % every == 0
                for every in (run.log_every, run.sheet_every, run.checkpoint_every)
            )
            shown: dict[str, float] = {}
            if logs or scores or saves:
                # Reading the scalars waits for the device, so it is not done at every step.
                shown = {name: float(value) for name, value in scalars.items()}
                must_be_finite(done, shown, *players)
                watch.losses(done, shown)
            if logs:
                record.scalars(done, shown | speed.since(done))
            if yardstick and scores:
                record.scalars(done, yardstick.measure())
                watch.score(done, record.history(yardstick.name), yardstick.floor)
                speed.restart(done)
            if draws:
                for name, pixels in training.sheets():
                    record.sheet(done, name, pixels)
            if saves:
                watch.samples(done, training.look())
                checkpoint.save(record.folder / "checkpoints", done, training.state(), run.keep)
            advance(**shown)
            if stopping:
                raise Interrupted(received[0])
    if yardstick:
        print(yardstick.standing(record.history(yardstick.name)), file=sys.stderr)


def _roll_back(training: Training, checkpoints: Path, trouble: Diverged) -> None:
    """Go back to the last checkpoint from before the trouble, to go on slower and with other random numbers.

    Where all that are kept are from after its onset, it is the oldest of them.

    Raises:
        Diverged: there is none, or it has been done too often.
    """
    count, kept = training.rollbacks + 1, checkpoint.steps(checkpoints)
    found = checkpoint.load(checkpoints, max(trouble.onset, min(kept))) if kept else None
    if found is None or count > MOST_ROLLBACKS:
        raise trouble
    checkpoint.drop(checkpoints, after=found[0])
    training.restore(*found)
    training.rollbacks = count
    for optimizer in training.trainer.optimizers.values():
        for group in optimizer.param_groups:
            group["initial_lr"] /= 2
    torch.manual_seed(int(generator(training.card.run.seed, count).initial_seed()))
    checkpoint.save(checkpoints, training.done, training.state(), training.card.run.keep)
    print(f"warning: {trouble}; back to step {training.done} at half the learning rates", file=sys.stderr)


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
