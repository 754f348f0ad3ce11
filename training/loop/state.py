"""A run in memory: the trainer and all that a bit-equal continuation needs."""

import dataclasses
import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

import safetensors.torch
import torch

from serving.arrays import Pixels
from serving.runtime.pipeline import Pipeline
from training.data.dataset import Batches
from training.graphs.pixels import all_as_served
from training.graphs.torch_pipeline import pipeline_of_generators
from training.loop.compute import find_device, prepare, settle
from training.loop.distributed import ALONE, Processes
from training.loop.ema import MovingAverage
from training.loop.monitor import Watch
from training.run import checkpoint
from training.run.config import Card
from zoo.entry import Inputs, Trainer

PROBE_SIZES = {"sample": 64, "translate": 6}
"""Examples that a run is watched through, by its task; those of a translation are images themselves."""


class Training:
    """A run in memory: what a checkpoint holds."""

    probe: Inputs
    """The fixed inputs that the run is watched through, and that an export is proven on."""

    def __init__(self, card: Card, processes: Processes = ALONE) -> None:
        self.card, self.done, self.rollbacks, self.processes = card, 0, 0, processes
        self.device = processes.own(find_device(card.run.device))
        torch.manual_seed(card.run.seed)
        self.trainer: Trainer = card.entry.build(self.device)
        self.watch = Watch(card.run)
        self.average = MovingAverage(self.trainer.generators, card.run.ema)
        prepare(self.trainer, card.run, self.device, processes)
        for optimizer in self.trainer.optimizers.values():
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]

    @property
    def columns(self) -> int:
        """Examples in a row of the probe's sheet, which is a class where there are classes."""
        size, classes = PROBE_SIZES[self.card.entry.task], self.card.entry.classes
        return math.ceil(size / (classes or math.ceil(math.sqrt(size))))

    def draw_probe(self, data: Batches) -> None:
        """Draw the probe for the data, on any device; torch's random state is as before."""
        before = checkpoint.random_state(self.device)
        rows = self.card.entry.classes or math.ceil(PROBE_SIZES[self.card.entry.task] / self.columns)
        batch = data.batch(0, rows * self.columns)
        batch["label"] = torch.arange(rows).repeat_interleave(self.columns)
        self.probe = self._here(self.trainer.inputs(batch))
        checkpoint.restore_random_state(before, self.device)

    def step(self, data: Batches) -> dict[str, torch.Tensor]:
        """Train on the next batch, which is on the device."""
        factor = self.card.entry.learning_rate_at(self.done / self.card.run.steps)
        for optimizer in self.trainer.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
        scalars = self.trainer.step(data.batch(self.done, self.card.entry.examples_per_step))
        self.average.update(self.trainer.generators, self.done)
        self.done += 1
        return scalars

    def _here(self, inputs: Inputs) -> Inputs:
        return {
            name: {key: value.to(self.device) for key, value in fed.items()} for name, fed in inputs.items()
        }

    @torch.no_grad()
    def look(self) -> torch.Tensor:
        """Give what the first averaged generator makes of its probe."""
        name, average = next(iter(self.average.generators.items()))
        samples: torch.Tensor = average(**self.probe[name])
        return samples

    @property
    def pipeline(self) -> Pipeline:
        """The averaged generators in the place of the graphs that an export would make of them."""
        card = self.card
        return pipeline_of_generators(card.entry, self.average.generators, self.probe, card.labels)

    def sheets(self) -> Iterator[tuple[str, Pixels]]:
        """Draw what the averaged generators make of the probe: a name and a picture each."""
        pipeline = self.pipeline
        for name, fed in self.probe.items():
            yield name, pipeline.picture(name, all_as_served(fed), self.columns)

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
        settle(self.trainer.optimizers.values())
        self.trainer.load_state_dict(state["trainer"])
        self.watch.load_state_dict(state["watch"])
        self.average.generators.load_state_dict(state["average"])
        self.probe = self._here(state["probe"])
        checkpoint.restore_random_state(state["random"], self.device)


def restore(run: Path) -> Training:
    """Bring a run's newest checkpoint back, on the CPU.

    Raises:
        ValueError: the folder holds no run or no checkpoint.
    """
    card = Card.read(run)
    found = checkpoint.load(run / "checkpoints")
    if found is None:
        raise ValueError(f"{run} has no checkpoint yet; train it first")
    training = Training(dataclasses.replace(card, run=dataclasses.replace(card.run, device="cpu")))
    training.restore(*found)
    return training


def open_run(run: Path) -> Pipeline:
    """Load a run's averaged generators as a pipeline, by torch, on the CPU.

    Raises:
        UserError: the folder holds no run or no checkpoint.
    """
    training = restore(run)
    weights = safetensors.torch.save(training.average.generators.state_dict())
    version = hashlib.sha256(weights).hexdigest()[:12]
    return training.pipeline._replace(version=version, provider="cpu")
