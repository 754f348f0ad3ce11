"""A run's averaged generators, opened from its newest checkpoint: what is exported, sampled and scored."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from torch import nn

from serving.errors import UserError
from serving.runtime.pipeline import Pipeline
from training.graphs.torch_pipeline import pipeline_of_generators
from training.run import checkpoint
from training.run.config import RunConfig
from zoo.entry import Batch, Inputs


class Averaged(NamedTuple):
    """The averaged generators of a run, and what an export needs beside them."""

    config: RunConfig
    steps: int
    """Steps that the run has done."""

    generators: nn.ModuleDict
    """In evaluation mode, on the CPU."""

    preview: Inputs
    """The fixed inputs that the run is watched through."""

    inputs: Callable[[Batch], Inputs]
    """Returns what each generator is fed for a batch, as the trainer does."""

    @property
    def pipeline(self) -> Pipeline:
        """The generators as a pipeline, run by torch; its version is a hash of their weights."""
        weights = safetensors.torch.save(self.generators.state_dict())
        pipeline = pipeline_of_generators(
            self.config.entry, self.generators, self.preview, self.config.labels
        )
        return pipeline._replace(version=hashlib.sha256(weights).hexdigest()[:12], provider="cpu")


def open_averaged(run: Path) -> Averaged:
    """Open the averaged generators of a run's newest checkpoint, on the CPU.

    The optimizers' and the discriminators' states are not restored, and torch's random state is left alone.

    Raises:
        UserError: the folder holds no run or no checkpoint.
    """
    config = RunConfig.read(run)
    found = checkpoint.load(run / "checkpoints")
    if found is None:
        raise UserError(f"{run} has no checkpoint yet; train it first")
    steps, saved = found
    with torch.random.fork_rng(devices=[]):
        trainer = config.entry.build("cpu")
    generators = trainer.generators.eval().requires_grad_(False)
    generators.load_state_dict(saved["average"])
    return Averaged(config, steps, generators, saved["probe"], trainer.inputs)
