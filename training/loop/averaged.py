"""The averaged generators of a run, loaded from a checkpoint for export and sampling."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from torch import nn

from serving.runtime.pipeline import Pipeline
from training.graphs.torch_pipeline import pipeline_of_generators
from training.loop.restore import must_be_inputs
from training.run import checkpoint
from training.run.config import RunConfig
from zoo.entry import Batch, Inputs


class Averaged(NamedTuple):
    """The averaged generators of a run and the other inputs of an export."""

    config: RunConfig
    steps: int
    """Number of steps that the generators were trained for."""

    generators: nn.ModuleDict
    """In evaluation mode, on the CPU."""

    preview: Inputs
    """The run's fixed preview inputs."""

    inputs: Callable[[Batch], Inputs]
    """Function that returns the inputs of each generator for a batch, as `Trainer.inputs` does."""

    @property
    def pipeline(self) -> Pipeline:
        """Pipeline that runs the generators with torch; its version is a hash of their weights."""
        weights = safetensors.torch.save(self.generators.state_dict())
        config = self.config
        version = hashlib.sha256(weights).hexdigest()[:12]
        pipeline = pipeline_of_generators(
            config.entry,
            self.generators,
            self.preview,
            config.labels,
            config.value_range,
            config.provenance(version),
        )
        return dataclasses.replace(pipeline, version=version, provider="cpu")


def open_averaged(run: Path, which: str | int = "newest") -> Averaged:
    """Load the averaged generators of a run's checkpoint on the CPU.

    Optimizers and discriminators are not restored. Torch's random state does not change.

    Args:
        run: folder of the run.
        which: the checkpoint, as for `open_checkpoint`.

    Raises:
        UserError: the folder holds no run or no such checkpoint, or one of them is damaged.
        OSError: a file can't be read.
    """
    config = RunConfig.read(run)
    steps, saved = checkpoint.open_checkpoint(run, which)
    with torch.random.fork_rng(devices=[]):
        trainer = config.entry.build("cpu")
    generators = trainer.generators.eval().requires_grad_(False)
    with torch.random.fork_rng(devices=[]), checkpoint.restoring(run / "checkpoints", steps):
        generators.load_state_dict(saved["average"])
        # "probe" is a key of the checkpoint format, kept so that older checkpoints load.
        must_be_inputs(saved["probe"], generators, config.entry.classes)
        return Averaged(config, steps, generators, saved["probe"], trainer.inputs)
