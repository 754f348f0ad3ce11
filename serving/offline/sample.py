"""Sampling to files: a sheet, an array, a tar, or a folder of PNG files or shards."""

from functools import partial
from pathlib import Path

import numpy as np

from serving.errors import UserError
from serving.imaging import codec, sheets
from serving.offline.bulk import Format, Plan, format_in, write_folder, write_here, write_tar
from serving.offline.images import write_images
from serving.offline.ray_cluster import ray_writer
from serving.runtime.latents import must_be_seeds
from serving.runtime.manifest import class_of, label_in, name_of
from serving.runtime.pipeline import Pipeline
from serving.system.files import new_file, write_file
from serving.system.folders import must_be_writable

SUFFIXES = (".png", ".npy", ".tar")
"""Suffixes of single files."""

SHARD_SIZE = 10_000
"""Default number of samples per shard, and most PNG files that a folder gets by default."""


def write_samples(
    pipeline: Pipeline,
    n: int,
    seed: int,
    out: Path,
    label: str | None = None,
    shard_size: int | None = None,
    ray: bool = False,
    truncation: float | None = None,
    folder_format: Format | None = None,
) -> None:
    """Write samples as a sheet (`.png`), an array (`.npy`), a tar (`.tar`), or a folder.

    Args:
        pipeline: pipeline of a model that samples.
        n: number of samples.
        seed: seed of the first sample.
        out: destination. If the classes cycle, each has a column of a sheet.
        label: name or number of the class of all samples; by default the classes cycle.
        shard_size: samples per shard of a folder; SHARD_SIZE by default.
        ray: whether a Ray cluster writes the folder.
        truncation: factor for the latents, as for `Pipeline.sample`.
        folder_format: `png` for one file per image, `tar` for shards. By default `tar` with `shard_size` or
            `ray`; else that of the folder, if it has samples; else `png` for at most SHARD_SIZE images.

    Raises:
        UserError: the path is none of these, the arguments are not valid for the model, or the folder has
            other content.
        OSError: a file can't be written.
    """
    must_be_a_place(out, shard_size, ray, folder_format)
    must_be_seeds(n, seed)
    pipeline.must_do("sample")
    number, seeds = class_of(pipeline.labels, label_in(pipeline.labels, label)), range(seed, seed + n)
    if out.suffix in SUFFIXES:
        return _write_file(pipeline, seeds, out, number, truncation)
    present = "tar" if shard_size is not None or ray else format_in(out)
    chosen = folder_format or present or _default_format(pipeline, n, seed)
    plan = Plan(
        version=pipeline.version,
        provider=pipeline.provider,
        seed=seed,
        n=n,
        label=number,
        truncation=truncation,
        size=1 if chosen == "png" else shard_size or SHARD_SIZE,
        format=chosen,
        provenance=pipeline.provenance is not None,
    )
    return _write_folder(pipeline, plan, out, ray)


def _write_folder(pipeline: Pipeline, plan: Plan, out: Path, ray: bool) -> None:
    if plan.format == "png":
        return write_images(pipeline, plan, out)
    write = ray_writer(pipeline, plan, out) if ray else partial(write_here, pipeline, plan, out)
    return write_folder(plan, out, write)


def _default_format(pipeline: Pipeline, n: int, seed: int) -> Format:
    return "png" if n <= SHARD_SIZE and pipeline.sample(1, seed=seed).ndim == 4 else "tar"


def must_be_a_place(
    out: Path, shard_size: int | None, ray: bool, folder_format: Format | None = None
) -> None:
    """Check that samples can be written to a path.

    A folder whose name has a suffix is valid only with `shard_size`, `ray` or `folder_format`.

    Raises:
        UserError: the path or `shard_size` is not valid.
    """
    is_file, in_shards = out.suffix in SUFFIXES, shard_size is not None or ray
    is_folder = in_shards or folder_format is not None
    if shard_size is not None and shard_size < 1:
        raise UserError(f"--shard-size must be at least 1; got {shard_size}")
    if in_shards and folder_format == "png":
        raise UserError("--format must be tar with --shard-size or --ray; got png")
    if is_file and is_folder:
        raise UserError(f"--out must be a folder with --shard-size, --ray or --format; got {out.name}")
    if out.suffix and not is_file and not is_folder:
        raise UserError(
            f"--out must be a .png, .npy or .tar file, or a folder without a suffix; got {out.name}; "
            "a folder with a suffix requires --format, --shard-size or --ray"
        )


def _write_file(
    pipeline: Pipeline, seeds: range, out: Path, label: int | None, truncation: float | None
) -> None:
    if out.suffix == ".tar":
        write_tar(pipeline, seeds, out, label, truncation)
        return
    must_be_writable(out.parent)
    samples = pipeline.sample(len(seeds), seed=seeds.start, label=label, truncation=truncation)
    columns = len(pipeline.labels) if label is None and out.suffix == ".png" else 0
    name = name_of(pipeline.labels, label)
    said = pipeline.provenance and pipeline.provenance.of_seeds(seeds, name, truncation, columns)
    if out.suffix == ".png":
        write_file(out, codec.encode_png(sheets.picture(samples, columns=columns), said))
        return
    with new_file(out) as file:
        np.save(file, samples, allow_pickle=False)
    if said:
        write_file(out.with_name(f"{out.name}.json"), f"{said.to_json()}\n".encode())
