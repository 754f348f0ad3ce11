"""Samples from a run or an artifact, by the seeds that the server uses too."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from serving import images, manifest
from serving.engine import Array, Engine
from training.draw import Sampler, sampler_of
from training.durable import write_file
from training.export import restore


def open_sampler(source: Path) -> tuple[Sampler, Sequence[str]]:
    """Load what samples: an artifact by the serving engine, or a run's averaged generator by torch.

    Returns:
        What draws samples, and the names of the classes that it is told apart by.

    Raises:
        ValueError: the source is neither, or it does not sample.
    """
    return _artifact(source) if (source / manifest.FILE).exists() else _run(source)


def _artifact(folder: Path) -> tuple[Sampler, Sequence[str]]:
    engine = Engine(folder)
    _must_sample(folder, engine.manifest.task)
    ((name, graph),) = engine.manifest.graphs.items()
    return Sampler(graph.inputs, partial(engine.run, name)), engine.manifest.labels


def _run(folder: Path) -> tuple[Sampler, Sequence[str]]:
    training = restore(folder)
    card = training.card
    _must_sample(folder, card.entry.task)
    ((name, generator),) = training.average.generators.items()
    labels = card.labels if card.entry.classes else ()
    return sampler_of(card.entry, generator, training.probe[name]), labels


def _must_sample(source: Path, task: str) -> None:
    if task != "sample":
        raise ValueError(f"{source} translates images; it does not sample")


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
    return _sample(*open_sampler(source), n, seed, label)


def _sample(sampler: Sampler, labels: Sequence[str], n: int, seed: int, label: str | None) -> Array:
    if n < 1:
        raise ValueError(f"n must be at least 1; got {n}")
    chosen = None if label is None else _class_of(labels, label)
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
    sampler, labels = open_sampler(source)
    samples = _sample(sampler, labels, n, seed, label)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".png":
        columns = 0 if label else len(labels)
        write_file(out, images.encode_png(images.picture(samples, columns=columns)))
    else:
        np.save(out, samples, allow_pickle=False)
