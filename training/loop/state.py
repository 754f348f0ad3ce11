"""`TrainState`: the state of a run in memory, from which training resumes bit-exactly."""

import math
import operator
from collections.abc import Iterator

import torch

from serving.arrays import Pixels
from serving.imaging.provenance import Provenance
from serving.runtime.pipeline import Pipeline
from training.data.dataset import Loader
from training.graphs.pixels import all_as_served
from training.graphs.torch_pipeline import pipeline_of_generators
from training.loop.compute import device_named, prepare, settle, usual_format
from training.loop.distributed import SINGLE, World
from training.loop.ema import MovingAverage
from training.loop.monitor import Monitor
from training.loop.pretrained import load_pretrained
from training.loop.restore import must_be_inputs, restore_optimizer
from training.loop.schedule import factor_at
from training.run import checkpoint
from training.run.config import RunConfig
from training.run.scores import read_scores
from zoo.entry import Entry, Inputs, Trainer

PREVIEW_SIZES = {"sample": 64, "translate": 6}
"""Number of preview examples for each task; those of a translation are images."""


class TrainState:
    """The state of a run in memory; a checkpoint stores it.

    The precision `auto` is fp32 here: `train` chooses one before it creates the state.
    """

    preview: Inputs
    """Fixed inputs of the generators, used for the contact sheets and for the parity checks of an export."""

    def __init__(self, config: RunConfig, world: World = SINGLE) -> None:
        self.device = world.device_for(device_named(config.train.device))
        config = config.computed("fp32", usual_format(config.train.precision, self.device))
        self.config, self.done, self.rollbacks, self.world = config, 0, 0, world
        torch.manual_seed(config.train.seed)
        self.trainer: Trainer = config.entry.build(self.device)
        load_pretrained(config.entry, self.trainer)
        self.monitor = Monitor(config.train)
        self.average = MovingAverage(self.trainer.generators, config.train.ema)
        prepare(self.trainer, config.train, self.device, world)
        for optimizer in self.trainer.optimizers.values():
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]

    def draw_preview(self, data: Loader) -> None:
        """Draw the preview inputs from the data without changing torch's random state."""
        before = checkpoint.random_state(self.device)
        entry, columns = self.config.entry, preview_columns(self.config.entry)
        rows = entry.classes or math.ceil(PREVIEW_SIZES[entry.task] / columns)
        batch = data.batch(0, rows * columns)
        batch["label"] = torch.arange(rows).repeat_interleave(columns)
        self.preview = self._here(self.trainer.inputs(batch))
        checkpoint.restore_random_state(before, self.device)

    def step(self, data: Loader) -> dict[str, torch.Tensor]:
        """Train on the next batch and return the step's scalars."""
        factor = factor_at(self.config, self.done)
        for optimizer in self.trainer.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
        scalars = self.trainer.step(data.batch(self.done, self.config.entry.examples_per_step))
        self.average.update(self.trainer.generators, self.config.average_steps + self.done)
        self.done += 1
        return scalars

    def learning_rates(self) -> dict[str, float]:
        """Return the learning rates of the last step as scalars to log, by the names of the optimizers."""
        return {
            f"{name}_learning_rate": float(optimizer.param_groups[0]["lr"])
            for name, optimizer in self.trainer.optimizers.items()
        }

    def save(self) -> None:
        """Write a checkpoint; the newest ones remain and, with `keep_best`, that of the best score so far."""
        folder, run = self.config.folder, self.config.train
        scores = read_scores(folder, latest=self.done) if run.keep_best else None
        best = scores.best.step if scores else None
        checkpoint.save(folder / "checkpoints", self.done, self.state_dict(), run.keep_checkpoints, best)

    def _here(self, inputs: Inputs) -> Inputs:
        return {
            name: {key: value.to(self.device) for key, value in fed.items()} for name, fed in inputs.items()
        }

    @torch.no_grad()
    def look(self) -> torch.Tensor:
        """Return the first averaged generator's samples of its preview inputs."""
        name, average = next(iter(self.average.generators.items()))
        samples: torch.Tensor = average(**self.preview[name])
        return samples

    @property
    def pipeline(self) -> Pipeline:
        """Pipeline that runs the averaged generators with torch."""
        config = self.config
        return pipeline_of_generators(
            config.entry,
            self.average.generators,
            self.preview,
            config.labels,
            config.value_range,
            config.provenance(f"step {self.done}"),
        )

    def sheets(self) -> Iterator[tuple[str, Pixels, Provenance | None]]:
        """Yield each averaged generator's name, its sheet of the preview inputs, and what the sheet says."""
        pipeline = self.pipeline
        for name, fed in self.preview.items():
            sheet = pipeline.picture(name, all_as_served(fed), preview_columns(self.config.entry))
            yield name, sheet, pipeline.provenance

    def state_dict(self) -> checkpoint.State:
        """Return everything that a bit-exact resume needs."""
        # "probe" (preview) and "watch" (monitor) are keys of the checkpoint format, kept so that older
        # checkpoints load.
        return {
            "generators": self.trainer.generators.state_dict(),
            "discriminators": self.trainer.discriminators.state_dict(),
            "helpers": self.trainer.helpers.state_dict(),
            "optimizers": {name: opt.state_dict() for name, opt in self.trainer.optimizers.items()},
            "trainer": self.trainer.state_dict(),
            "average": self.average.generators.state_dict(),
            "probe": self.preview,
            "rollbacks": self.rollbacks,
            "watch": self.monitor.state_dict(),
            "random": checkpoint.random_state(self.device),
        }

    def load_state_dict(self, done: int, saved: checkpoint.State) -> None:
        """Restore a saved state of a run after `done` steps.

        Raises:
            UserError: the state is not one of this entry.
        """
        with checkpoint.restoring(self.config.folder / "checkpoints", done):
            self.done, self.rollbacks = done, operator.index(saved["rollbacks"])
            self.trainer.generators.load_state_dict(saved["generators"])
            self.trainer.discriminators.load_state_dict(saved["discriminators"])
            self.trainer.helpers.load_state_dict(saved.get("helpers", {}))  # older checkpoints have none
            for name, optimizer in self.trainer.optimizers.items():
                restore_optimizer(optimizer, saved["optimizers"][name])
            settle(self.trainer.optimizers.values())
            self.trainer.load_state_dict(saved["trainer"])
            self.monitor.load_state_dict(saved["watch"])
            self.average.generators.load_state_dict(saved["average"])
            self.preview = self._here(saved["probe"])
            must_be_inputs(self.preview, self.average.generators, self.config.entry.classes)
            checkpoint.restore_random_state(saved["random"], self.device)


def preview_columns(entry: Entry) -> int:
    """Return the number of columns of the preview's contact sheet; with classes, each row is one class."""
    size = PREVIEW_SIZES[entry.task]
    return math.ceil(size / (entry.classes or math.ceil(math.sqrt(size))))
