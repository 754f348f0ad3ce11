"""Samples from a run or an artifact, by the seeds that the server uses too."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from serving import images, manifest
from serving.engine import Array, Engine, draw_inputs
from training.durable import write_file
from training.export import describe_inputs, restore
from training.record import to_pixels

CHUNK = 64


class Sampler(NamedTuple):
    """An artifact or a run that samples, loaded."""

    labels: Sequence[str]
    """Names of the classes that it is told apart by; empty where it is not."""

    specs: Mapping[str, manifest.Tensor]
    """What its generator wants."""

    run: Callable[[dict[str, Array]], Array]
    """Gives the samples of some inputs: uint8 (N, H, W, C) or float32 vectors (N, D)."""

    def draw(self, seeds: range, label: int | None = None) -> Iterator[Array]:
        """Draw the samples of some seeds, a few dozen at a time; without a label the classes take turns."""
        for first in range(0, len(seeds), CHUNK):
            yield self.run(draw_inputs(self.specs, list(seeds[first : first + CHUNK]), label))


def open_sampler(source: Path) -> Sampler:
    """Load what samples: an artifact by the serving engine, or a run's averaged generator by torch.

    Raises:
        ValueError: the source is neither, or it does not sample.
    """
    return _artifact(source) if (source / manifest.FILE).exists() else _run(source)


def _artifact(folder: Path) -> Sampler:
    engine = Engine(folder)
    _must_sample(folder, engine.manifest.task)
    ((name, graph),) = engine.manifest.graphs.items()
    return Sampler(engine.manifest.labels, graph.inputs, partial(engine.run, name))


def _run(folder: Path) -> Sampler:
    training = restore(folder)
    card = training.card
    _must_sample(folder, card.entry.task)
    ((name, generator),) = training.average.generators.items()
    specs = describe_inputs(card.entry, training.probe[name])
    return Sampler(card.labels if card.entry.classes else (), specs, partial(_generate, generator))


def _must_sample(source: Path, task: str) -> None:
    if task != "sample":
        raise ValueError(f"{source} translates images; it does not sample")


@torch.no_grad()
def _generate(generator: nn.Module, inputs: dict[str, Array]) -> Array:
    output: Tensor = generator(**{name: torch.from_numpy(value) for name, value in inputs.items()})
    samples: Array = (to_pixels(output) if output.ndim == 4 else output).numpy()
    return samples


def sample(source: Path, n: int, seed: int, label: str | None = None) -> Array:
    """Draw the samples of seeds `seed` to `seed + n - 1`: uint8 (n, H, W, C) or float32 vectors (n, D).

    Args:
        source: an artifact or a run.
        n: how many.
        seed: the first one's.
        label: the name or the number of the class of all of them; by default the classes take turns.

    Raises:
        ValueError: the source is neither, it does not sample, or there is no such class.
    """
    return _sample(open_sampler(source), n, seed, label)


def _sample(sampler: Sampler, n: int, seed: int, label: str | None) -> Array:
    if n < 1:
        raise ValueError(f"n must be at least 1; got {n}")
    chosen = None if label is None else _class_of(sampler.labels, label)
    return np.concatenate(list(sampler.draw(range(seed, seed + n), chosen)))


def _class_of(labels: Sequence[str], label: str) -> int:
    """Read a label of the command line, where a number is text too."""
    number = label.isdecimal() and label not in labels
    return manifest.class_of(labels, int(label) if number else label)


def draw(source: Path, n: int, seed: int, out: Path, label: str | None = None) -> None:
    """Write samples as one picture (`.png`) or as the array (`.npy`); arguments as for `sample`.

    Where the classes take turns, each has a column of the sheet.

    Raises:
        ValueError: the path ends in neither, or the source can't be sampled.
    """
    if out.suffix not in (".png", ".npy"):
        raise ValueError(f"samples are written as .png or .npy; got {out.name}")
    sampler = open_sampler(source)
    samples = _sample(sampler, n, seed, label)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".png":
        columns = 0 if label else len(sampler.labels)
        write_file(out, images.encode_png(images.picture(samples, columns=columns)))
    else:
        np.save(out, samples, allow_pickle=False)
