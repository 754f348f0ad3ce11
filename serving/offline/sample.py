"""Sampling to files: a sheet, an array, a tar, or a folder of shards."""

from functools import partial
from pathlib import Path

import numpy as np

from serving.errors import UserError
from serving.imaging import codec, sheets
from serving.offline.bulk import Plan, write_folder, write_here, write_tar
from serving.offline.ray_cluster import ray_writer
from serving.runtime.latents import must_be_seeds
from serving.runtime.manifest import class_of, label_in
from serving.runtime.pipeline import Pipeline
from serving.system.files import write_file

SHARD_SIZE = 10_000
"""Default number of samples per shard."""


def write_samples(
    pipeline: Pipeline,
    n: int,
    seed: int,
    out: Path,
    label: str | None = None,
    shard_size: int | None = None,
    ray: bool = False,
    truncation: float | None = None,
) -> None:
    """Write samples as a sheet (`.png`), an array (`.npy`), a tar (`.tar`), or a folder of shards.

    If the classes cycle, each has a column of the sheet.

    Args:
        pipeline: pipeline of a model that samples.
        n: number of samples.
        seed: seed of the first sample.
        out: destination.
        label: name or number of the class of all samples; by default the classes cycle.
        shard_size: samples per shard of a folder, which may then have any name; SHARD_SIZE by default.
        ray: whether a Ray cluster writes the folder.
        truncation: factor for the latents, as for `Pipeline.sample`.

    Raises:
        UserError: the path is none of these, the arguments are not valid for the model, or the folder has
            other content.
        OSError: a file can't be written.
    """
    must_be_a_place(out, shard_size, ray)
    must_be_seeds(n, seed)
    pipeline.must_do("sample")
    number = class_of(pipeline.labels, label_in(pipeline.labels, label))
    if out.suffix in (".png", ".npy"):
        return _write_whole(pipeline, n, seed, out, number, truncation)
    if out.suffix == ".tar":
        return write_tar(pipeline, range(seed, seed + n), out, number, truncation)
    plan = Plan(
        version=pipeline.version,
        provider=pipeline.provider,
        seed=seed,
        n=n,
        label=number,
        truncation=truncation,
        size=shard_size or SHARD_SIZE,
    )
    write = ray_writer(pipeline, plan, out) if ray else partial(write_here, pipeline, plan, out)
    return write_folder(plan, out, write)


def must_be_a_place(out: Path, shard_size: int | None, ray: bool) -> None:
    """Check that samples can be written to a path.

    A folder whose name has a suffix is valid only with `shard_size` or `ray`.

    Raises:
        UserError: the path or `shard_size` is not valid.
    """
    is_file, in_shards = out.suffix in (".png", ".npy", ".tar"), shard_size is not None or ray
    if shard_size is not None and shard_size < 1:
        raise UserError(f"--shard-size must be at least 1; got {shard_size}")
    if is_file and in_shards:
        raise UserError(f"--out must be a folder with --shard-size or --ray; got {out.name}")
    if out.suffix and not is_file and not in_shards:
        raise UserError(
            f"--out must be a .png, .npy or .tar file, or a folder without a suffix; got {out.name}; "
            "a folder with a suffix requires --shard-size or --ray"
        )


def _write_whole(
    pipeline: Pipeline, n: int, seed: int, out: Path, label: int | None, truncation: float | None
) -> None:
    samples = pipeline.sample(n, seed=seed, label=label, truncation=truncation)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".png":
        columns = len(pipeline.labels) if label is None else 0
        write_file(out, codec.encode_png(sheets.picture(samples, columns=columns)))
    else:
        np.save(out, samples, allow_pickle=False)
