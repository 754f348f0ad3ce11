"""Samples in bulk: a folder of shards by a plan, gone on with where an earlier command ended."""

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
from typing import Any

from serving.errors import UserError
from serving.offline.shards import Shard, write_shard
from serving.offline.workers import Pack, Packed, packing, worker_pool, write_alone
from serving.runtime.manifest import ProviderName
from serving.runtime.pipeline import Pipeline
from serving.system.cpu import cores
from serving.system.files import PARTIAL, sweep, write_file
from serving.system.locks import LOCK_FILES, locked
from serving.system.progress import Advance, progress
from serving.system.signals import stoppable

PLAN, INDEX = "plan.json", "index.json"

GOES_ON = "the same command again does what is missing"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a folder of shards holds; it is kept there, so that nothing else gets in."""

    version: str
    """Of the graphs that draw."""

    provider: ProviderName
    """What they run on."""

    seed: int
    """The first sample's."""

    n: int
    """Samples in all."""

    label: int | None
    """Class of all of them; None where the classes take turns, or there are none."""

    size: int
    """Samples in a shard; the last has what is left."""

    @property
    def count(self) -> int:
        """Shards in all."""
        return -(-self.n // self.size)

    def seeds(self, shard: int) -> range:
        """Give the seeds of a shard."""
        return range(self.seed, self.seed + self.n)[shard * self.size : (shard + 1) * self.size]

    def shard_of(self, seed: int) -> int:
        """Give the shard of a seed."""
        return (seed - self.seed) // self.size

    def file(self, shard: int) -> str:
        """Name a shard."""
        return f"{shard:06}.tar"

    def to_json(self) -> bytes:
        """Give the content of `plan.json`."""
        return _json(dataclasses.asdict(self))


Write = Callable[[list[int], Advance], Iterable[Shard]]
"""Writes the shards of some numbers, in any order."""


def write_folder(plan: Plan, out: Path, write: Write) -> None:
    """Write the shards that a folder lacks, and then its index.

    Raises:
        UserError: the folder holds something else, or another process writes into it.
        OSError: it can't be written.
        Interrupted: SIGINT or SIGTERM came.
    """
    with stoppable(GOES_ON), _held(out, plan):
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
    """Describe the shards that an earlier command wrote, but for those that are not as it left them."""
    index = json.loads((out / INDEX).read_bytes()) if (out / INDEX).exists() else {"shards": []}
    known = {shard["file"]: shard["sha256"] for shard in index["shards"]}
    for number in range(plan.count):
        if (path := out / plan.file(number)).exists():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if known.get(path.name, digest) == digest:
                yield Shard(path.name, len(plan.seeds(number)), digest)


@contextmanager
def _held(out: Path, plan: Plan) -> Iterator[None]:
    """Hold a folder while the block runs, with this plan in it, swept of what was left half written."""
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        if (out / PLAN).exists():
            _must_be_the_plan_of(out, plan)
        elif others := {path.name for path in out.iterdir()} - LOCK_FILES - {PLAN + PARTIAL}:
            raise UserError(f"{out} holds {min(others)} and no shards; choose another --out")
        sweep(out)
        write_file(out / PLAN, plan.to_json())
        try:
            yield
        finally:
            sweep(out)


def _must_be_the_plan_of(out: Path, plan: Plan) -> None:
    try:
        there: dict[str, Any] = dict(json.loads((out / PLAN).read_bytes()))
    except (ValueError, TypeError) as error:
        raise UserError(f"{out / PLAN} is damaged: {error}") from error
    here = dataclasses.asdict(plan)
    differences = [
        f"{key}: {there.get(key)} there, {here[key]} here" for key in here if there.get(key) != here[key]
    ]
    if differences:
        raise UserError(f"{out} holds other shards ({'; '.join(differences)}); choose another --out")


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=2).encode() + b"\n"


def write_here(
    pipeline: Pipeline, plan: Plan, out: Path, shards: list[int], advance: Advance
) -> Iterator[Shard]:
    """Write shards of a plan on this machine.

    On the CPU each core writes a shard of its own; a GPU, or a run's networks, draw one after another.
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
        write = partial(write_alone, artifact, plan.version, label=plan.label)
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
    """Draw, pack and write shards of a plan, one after another; the next is drawn while one is written."""
    samples = (some for shard in shards for some in pipeline.samples(plan.seeds(shard), plan.label))
    for shard, parts in itertools.groupby(pack(samples), lambda part: plan.shard_of(part[0].start)):
        digest = write_shard(out / plan.file(shard), _counted(parts, advance))
        yield Shard(plan.file(shard), len(plan.seeds(shard)), digest)


def write_tar(pipeline: Pipeline, seeds: range, label: int | None, out: Path) -> None:
    """Write samples as one tar, which is whole or not there.

    Raises:
        OSError: it can't be written.
        Interrupted: SIGINT or SIGTERM came.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        stoppable("nothing is kept of a single tar"),
        packing(cores()) as pack,
        progress(len(seeds), "sampling", "samples") as advance,
    ):
        write_shard(out, _counted(pack(pipeline.samples(seeds, label)), advance), PARTIAL)


def _counted(parts: Iterable[Packed], advance: Advance) -> Iterator[bytes]:
    for seeds, data in parts:
        yield data
        advance(len(seeds))
