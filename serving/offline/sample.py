"""Samples from a run or an artifact, by the seeds that the server uses too."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from serving.imaging import codec
from serving.offline.bulk import Plan, write_folder, write_here, write_tar
from serving.offline.ray_cluster import open_fleet
from serving.runtime import manifest
from serving.runtime.engine import Array
from serving.runtime.latents import MAX_SEED
from serving.runtime.pipeline import Graphs
from serving.system.files import write_file
from training.cli.inference import open_graphs

SIZE = 10_000
"""Samples in a shard, unless that is asked for."""


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
    _must_be_seeds(n, seed)
    return np.concatenate(list(graphs.draw(range(seed, seed + n), _class_of(graphs.labels, label))))


def _must_be_seeds(n: int, seed: int) -> None:
    if n < 1:
        raise ValueError(f"n must be at least 1; got {n}")
    if not 0 <= seed <= MAX_SEED - (n - 1):
        raise ValueError(f"seeds must be from 0 to {MAX_SEED}; got {seed} to {seed + n - 1}")


def _class_of(labels: Sequence[str], label: str | None) -> int | None:
    """Read a label of the command line, where a number is text too."""
    if label is None:
        return None
    number = label.isdecimal() and label not in labels
    return manifest.class_of(labels, int(label) if number else label)


def draw(
    source: Path,
    n: int,
    seed: int,
    out: Path,
    label: str | None = None,
    shards: int | None = None,
    ray: bool = False,
) -> None:
    """Write samples: `.png`, one picture; `.npy`, the array; `.tar`, a file each; a folder, many tars.

    Where the classes take turns, each has a column of the picture. Arguments are as for `sample`.

    Args:
        source: an artifact or a run.
        n: how many.
        seed: the first one's.
        out: where to.
        label: the class.
        shards: samples in each tar of a folder, which may then have any name; SIZE by default.
        ray: whether a Ray cluster writes the folder.

    Raises:
        ValueError: the path is none of these, the source can't be sampled, or the folder holds others.
    """
    _must_be_a_place(out, shards, ray)
    _must_be_seeds(n, seed)
    graphs = open_graphs(source, "sample")
    if out.suffix in (".png", ".npy"):
        return _draw_at_once(graphs, n, seed, out, label)
    number = _class_of(graphs.labels, label)
    if out.suffix == ".tar":
        return write_tar(graphs, range(seed, seed + n), number, out)
    plan = Plan(
        version=graphs.version, provider=graphs.provider, seed=seed, n=n, label=number, size=shards or SIZE
    )
    write = open_fleet(source, plan, out) if ray else partial(write_here, source, graphs, plan, out)
    return write_folder(plan, out, write)


def _must_be_a_place(out: Path, shards: int | None, ray: bool) -> None:
    """Refuse what samples can't be written to; a folder whose name looks like a file's must be meant."""
    is_file, in_shards = out.suffix in (".png", ".npy", ".tar"), shards is not None or ray
    if shards is not None and shards < 1:
        raise ValueError(f"shards must be at least 1; got {shards}")
    if is_file and in_shards:
        raise ValueError(f"shards are written into a folder; got {out.name}")
    if out.suffix and not is_file and not in_shards:
        raise ValueError(
            f"samples are written as .png, .npy, .tar or, with --shards, a folder; got {out.name}"
        )


def _draw_at_once(graphs: Graphs, n: int, seed: int, out: Path, label: str | None) -> None:
    samples = _sample(graphs, n, seed, label)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".png":
        columns = 0 if label else len(graphs.labels)
        write_file(out, codec.encode_png(codec.picture(samples, columns=columns)))
    else:
        np.save(out, samples, allow_pickle=False)
