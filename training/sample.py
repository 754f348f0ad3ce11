"""Samples from a run or an artifact, by the seeds that the server uses too."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from serving import images, manifest
from serving.engine import Array
from training.draw import Graphs
from training.durable import write_file
from training.source import open_graphs


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
    return _sample(open_graphs(source, "sample"), n, seed, label)


def _sample(graphs: Graphs, n: int, seed: int, label: str | None) -> Array:
    if n < 1:
        raise ValueError(f"n must be at least 1; got {n}")
    chosen = None if label is None else _class_of(graphs.labels, label)
    return np.concatenate(list(graphs.draw(range(seed, seed + n), chosen)))


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
    graphs = open_graphs(source, "sample")
    samples = _sample(graphs, n, seed, label)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".png":
        columns = 0 if label else len(graphs.labels)
        write_file(out, images.encode_png(images.picture(samples, columns=columns)))
    else:
        np.save(out, samples, allow_pickle=False)
