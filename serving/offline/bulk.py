"""Bulk sampling: a folder of samples by a plan, which a later run of the command completes."""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from serving.errors import UserError
from serving.offline.shards import Shard, write_shard
from serving.offline.workers import Pack, Packed, packing, worker_pool, write_alone
from serving.runtime.manifest import ProviderName
from serving.runtime.pipeline import Pipeline
from serving.system.cpu import cores
from serving.system.files import PARTIAL, must_hold_nothing_else, sweep, write_file
from serving.system.json_file import read_object
from serving.system.locks import locked
from serving.system.progress import Advance, progress
from serving.system.signals import stoppable

PLAN, INDEX = "plan.json", "index.json"

GOES_ON = "run the same command again to complete it"

Format = Literal["png", "tar"]
"""Format of a folder: one PNG file per sample, or tar shards."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Content of a folder of samples, stored in the folder so that a later run writes the same content."""

    version: str
    """Version of the graphs."""

    provider: ProviderName
    """Provider of the graphs."""

    seed: int
    """Seed of the first sample."""

    n: int
    """Number of samples."""

    label: int | None
    """Class of all samples; None if the classes cycle or there are none."""

    truncation: float | None = None
    """Factor for the latents' distance from their mean; None does not truncate them."""

    size: int
    """Samples per shard; the last may have fewer. 1 for PNG files."""

    format: Format = "tar"
    """Format of the folder; folders of earlier versions have shards."""

    provenance: bool = True
    """Whether each image says where it comes from; those in folders of earlier versions do not."""

    @property
    def count(self) -> int:
        """Number of shards."""
        return -(-self.n // self.size)

    def seeds(self, shard: int) -> range:
        """Return the seeds of a shard."""
        return range(self.seed, self.seed + self.n)[shard * self.size : (shard + 1) * self.size]

    def shard_of(self, seed: int) -> int:
        """Return the number of a seed's shard."""
        return (seed - self.seed) // self.size

    def file(self, shard: int) -> str:
        """Return the file name of a shard."""
        return f"{shard:06}.tar"

    def to_json(self) -> bytes:
        """Return the content of `plan.json`."""
        return _json(dataclasses.asdict(self))


Write = Callable[[list[int], Advance], Iterable[Shard]]
"""Function that writes the shards of the given numbers, and yields them in any order."""


def write_folder(plan: Plan, out: Path, write: Write) -> None:
    """Write the missing shards of a folder, and then its index.

    Raises:
        UserError: the folder has other content, or another process is writing to it.
        OSError: a file can't be written.
        Interrupted: SIGINT or SIGTERM was received.
    """
    with stoppable(GOES_ON), held(out, plan):
        shards = list(_found(plan, out))
        there = {shard.file for shard in shards}
        missing = [shard for shard in range(plan.count) if plan.file(shard) not in there]
        if missing:
            done = sum(shard.samples for shard in shards)
            with progress(plan.n, "sampling", "samples", done) as advance:
                shards.extend(write(missing, advance))
        shards.sort(key=lambda shard: (len(shard.file), shard.file))
        index = dataclasses.asdict(plan) | {"shards": [shard._asdict() for shard in shards]}
        write_file(out / INDEX, _json(index))


def _found(plan: Plan, out: Path) -> Iterator[Shard]:
    """Yield the shards of earlier runs, without those whose content differs from the index."""
    known = _index(out)
    for number in range(plan.count):
        if (path := out / plan.file(number)).is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if known.get(path.name, digest) == digest:
                yield Shard(path.name, len(plan.seeds(number)), digest)


def _index(out: Path) -> dict[str, str]:
    """Return the hash of each shard that the index of an earlier run lists, by its file name."""
    path = out / INDEX
    if not path.exists():
        return {}
    try:
        return {str(shard["file"]): str(shard["sha256"]) for shard in read_object(path)["shards"]}
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged: every shard must have a file and its sha256; remove it"
        ) from error


@contextmanager
def held(out: Path, plan: Plan) -> Iterator[None]:
    """Lock a folder while the block runs, store the plan in it, and remove partial files.

    Raises:
        UserError: the folder has other content, or another process is writing to it.
        OSError: the folder can't be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        if (out / PLAN).exists():
            _must_be_the_plan_of(out, plan)
        else:
            must_hold_nothing_else(out, PLAN, "samples")
        sweep(out)
        write_file(out / PLAN, plan.to_json())
        try:
            yield
        finally:
            sweep(out)


def format_in(out: Path) -> Format | None:
    """Return the format of a folder that has a plan, or None.

    Raises:
        UserError: the plan is damaged.
    """
    if not (out / PLAN).exists():
        return None
    return "png" if read_object(out / PLAN).get("format") == "png" else "tar"


def _must_be_the_plan_of(out: Path, plan: Plan) -> None:
    there = {"format": "tar", "provenance": False} | read_object(out / PLAN)
    here = dataclasses.asdict(plan)
    differences = [
        f"{key} {there.get(key)} instead of {here[key]}" for key in here if there.get(key) != here[key]
    ]
    if differences:
        raise UserError(
            f"{out} contains samples of other options: {', '.join(differences)}; choose another --out"
        )


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=2).encode() + b"\n"


def write_here(
    pipeline: Pipeline, plan: Plan, out: Path, shards: list[int], advance: Advance
) -> Iterator[Shard]:
    """Write shards of a plan on this machine.

    On the CPU, each core writes a shard of its own. A GPU, or networks in memory, sample one shard after
    another.
    """
    if plan.provider == "cpu" and pipeline.artifact:
        yield from _write_at_once(pipeline.artifact, plan, out, shards, advance)
        return
    with packing(cores()) as pack:
        yield from write_shards(pipeline, plan, out, shards, pack, advance)


def _write_at_once(
    artifact: Path, plan: Plan, out: Path, shards: list[int], advance: Advance
) -> Iterator[Shard]:
    with worker_pool(min(cores(), len(shards))) as pool:
        write = partial(
            write_alone,
            artifact,
            plan.version,
            label=plan.label,
            truncation=plan.truncation,
            provenance=plan.provenance,
        )
        working = {
            pool.submit(write, seeds=plan.seeds(shard), path=out / plan.file(shard)): shard
            for shard in shards
        }
        for done in as_completed(working):
            shard = working[done]
            written = Shard(plan.file(shard), len(plan.seeds(shard)), done.result())
            advance(written.samples)
            yield written


def write_shards(
    pipeline: Pipeline, plan: Plan, out: Path, shards: list[int], pack: Pack, advance: Advance
) -> Iterator[Shard]:
    """Sample, pack and write shards of a plan in order; worker processes pack during sampling."""
    samples = (
        some for shard in shards for some in pipeline.samples(plan.seeds(shard), plan.label, plan.truncation)
    )
    for shard, parts in itertools.groupby(pack(samples), lambda part: plan.shard_of(part[0].start)):
        digest = write_shard(out / plan.file(shard), _counted(parts, advance))
        yield Shard(plan.file(shard), len(plan.seeds(shard)), digest)


def write_tar(
    pipeline: Pipeline, seeds: range, out: Path, label: int | None = None, truncation: float | None = None
) -> None:
    """Write samples as one tar file, atomically.

    Raises:
        OSError: the file can't be written.
        Interrupted: SIGINT or SIGTERM was received.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        stoppable("no file was written; sampling to a folder can be resumed"),
        packing(cores()) as pack,
        progress(len(seeds), "sampling", "samples") as advance,
    ):
        write_shard(out, _counted(pack(pipeline.samples(seeds, label, truncation)), advance), PARTIAL)


def _counted(parts: Iterable[Packed], advance: Advance) -> Iterator[bytes]:
    for seeds, data in parts:
        yield data
        advance(len(seeds))
