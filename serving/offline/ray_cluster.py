"""Bulk sampling with Ray Data: the machines of a Ray cluster write shards into one shared folder."""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

from serving.errors import UserError
from serving.offline.bulk import GOES_ON, Plan, Write, write_shards
from serving.offline.shards import Shard
from serving.offline.workers import Pack, packing
from serving.runtime.load import load
from serving.runtime.pipeline import Pipeline
from serving.system.progress import Advance
from serving.system.signals import stoppable


def ray_writer(pipeline: Pipeline, plan: Plan, out: Path) -> Write:
    """Return a function that writes shards on the Ray cluster of RAY_ADDRESS, or on a local one.

    The artifact and the folder must have the same paths on every machine of the cluster.

    Raises:
        UserError: the pipeline is not an artifact's, or Ray is not installed.
    """
    if pipeline.artifact is None:
        raise UserError(
            "--ray requires an artifact; got networks in memory; create one with `ganzoo export RUN`"
        )
    artifact = pipeline.artifact.resolve()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray.data
    except ImportError as error:
        raise UserError(
            "ray is not installed, which --ray requires; pip install 'gan-zoo[ray]' installs it"
        ) from error

    def write(shards: list[int], advance: Advance) -> Iterator[Shard]:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        try:
            # Install the signal handlers again, because Ray has replaced them.
            with stoppable(GOES_ON):
                for row in _rows(ray, (artifact, plan, out.resolve()), shards):
                    if row["fault"]:
                        raise UserError(f"a worker of the Ray cluster failed: {row['fault']}")
                    advance(row["samples"])
                    yield Shard(row["file"], row["samples"], row["sha256"])
        finally:
            ray.shutdown()

    return write


def _rows(ray: Any, arguments: tuple[Path, Plan, Path], shards: list[int]) -> Iterator[dict[str, Any]]:
    """Write shards on the workers of the cluster, on GPUs if the plan's provider is CUDA, and yield rows."""
    workers, share = _workers(ray, arguments[1].provider == "cuda")
    workers = min(workers, len(shards))
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    plans = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))
    written = plans.map(
        Worker,
        fn_constructor_args=(*arguments, share),
        compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
        num_cpus=share,
        num_gpus=int(arguments[1].provider == "cuda"),
    )
    yield from written.iter_rows()


def _workers(ray: Any, cuda: bool) -> tuple[int, int]:
    """Return the number of workers, one per core or GPU of the cluster, and the cores of each worker.

    Raises:
        UserError: the cluster has no such core or GPU.
    """
    machines = [Counter(node["Resources"]) for node in ray.nodes() if node["Alive"]]
    places = [int(machine["GPU" if cuda else "CPU"]) for machine in machines]
    if not any(places):
        raise UserError(f"no machine of the Ray cluster has a {'GPU' if cuda else 'CPU core'}")
    # Any worker may run on any machine, so each gets the smallest share of a machine's cores.
    cores = [int(machine["CPU"]) // each for machine, each in zip(machines, places, strict=True) if each]
    return sum(places), max(1, min(cores))


class Worker:
    """A worker of the cluster: one engine with its share of a machine's cores."""

    def __init__(self, artifact: Path, plan: Plan, out: Path, share: int) -> None:
        self.artifact, self.plan, self.out, self.share = artifact, plan, out, share
        self.started = ExitStack()

    @cached_property
    def pack(self) -> Pack:
        """Function that packs samples, with a worker pool that lives as long as this worker."""
        return self.started.enter_context(packing(self.share - 1))

    @cached_property
    def pipeline(self) -> Pipeline:
        """The artifact's pipeline, loaded on the machine of this worker.

        Raises:
            UserError: the artifact's version is not the plan's.
        """
        pipeline = load(
            self.artifact,
            provider=self.plan.provider,
            threads=self.share,
            provenance=self.plan.provenance,
        )
        if pipeline.version != self.plan.version:
            raise UserError(
                f"{self.artifact} must have the version {self.plan.version} on every machine; "
                f"got {pipeline.version}"
            )
        return pipeline

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Write a shard and return its row, with the message of an error that the user can correct."""
        try:
            (shard,) = write_shards(self.pipeline, self.plan, self.out, [row["shard"]], self.pack, _ignore)
        except (OSError, UserError) as error:
            return Shard("", 0, "")._asdict() | {"fault": str(error)}
        return shard._asdict() | {"fault": ""}


def _ignore(count: int = 1) -> None:
    """Ignore the progress within a shard; progress is shown by whole shards."""
