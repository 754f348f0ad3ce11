"""Shards of a plan by Ray Data: machines of a cluster, each with its own engine, write into one folder."""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

from serving.offline.bulk import GOES_ON, Plan, Write, write_shards
from serving.offline.shards import Shard
from serving.offline.workers import Pack, packing
from serving.runtime.pipeline import Graphs
from serving.system.progress import Advance
from serving.system.signals import stoppable
from training.cli.inference import is_artifact, open_graphs


def open_fleet(source: Path, plan: Plan, out: Path) -> Write:
    """Give what writes shards by Ray: by the cluster of RAY_ADDRESS, or one that is started on this machine.

    Every machine of it finds the artifact and the folder under the same paths.

    Raises:
        ValueError: the source is no artifact, or Ray is not installed.
    """
    if not is_artifact(source):
        raise ValueError(f"{source} is no artifact, which a cluster draws from; `ganzoo export` makes one")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray.data
    except ImportError as error:
        raise ValueError("--ray wants a package that is not installed: pip install 'gan-zoo[ray]'") from error

    def write(shards: list[int], advance: Advance) -> Iterator[Shard]:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        try:
            # Ray has put a handler of its own in the place of ours.
            with stoppable(GOES_ON):
                for row in _rows(ray, (source.resolve(), plan, out.resolve()), shards):
                    if row["fault"]:
                        raise ValueError(f"a machine of the cluster failed: {row['fault']}")
                    advance(row["samples"])
                    yield Shard(row["file"], row["samples"], row["sha256"])
        finally:
            ray.shutdown()

    return write


def _rows(ray: Any, arguments: tuple[Path, Plan, Path], shards: list[int]) -> Iterator[dict[str, Any]]:
    """Have each shard written by whichever machine is free: on the GPUs if that is what the plan says."""
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
    """Count the engines that a cluster has room for, one a core or a GPU, and the cores that each may have.

    Raises:
        ValueError: it has no room for any.
    """
    machines = [Counter(node["Resources"]) for node in ray.nodes() if node["Alive"]]
    places = [int(machine["GPU" if cuda else "CPU"]) for machine in machines]
    if not any(places):
        raise ValueError(f"no machine of the cluster has a {'GPU' if cuda else 'processor'} to give")
    # Any engine may come to any machine: each has what the narrowest can give.
    cores = [int(machine["CPU"]) // each for machine, each in zip(machines, places, strict=True) if each]
    return sum(places), max(1, min(cores))


class Worker:
    """One engine of the cluster, with its share of a machine's cores."""

    def __init__(self, source: Path, plan: Plan, out: Path, share: int) -> None:
        self.source, self.plan, self.out, self.share = source, plan, out, share
        self.started = ExitStack()

    @cached_property
    def pack(self) -> Pack:
        """What packs beside the engine, as long as the worker lives."""
        return self.started.enter_context(packing(self.share - 1))

    @cached_property
    def graphs(self) -> Graphs:
        """The artifact's graphs, where this worker runs.

        Raises:
            ValueError: they are not those of the plan.
        """
        graphs = open_graphs(self.source, "sample", provider=self.plan.provider, threads=self.share)
        if graphs.version != self.plan.version:
            raise ValueError(f"{self.source} is {graphs.version} there, and {self.plan.version} here")
        return graphs

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Write a shard; tell what went wrong where that is for the user to mend."""
        try:
            (shard,) = write_shards(self.graphs, self.plan, self.out, [row["shard"]], self.pack, _ignore)
        except (OSError, ValueError) as error:
            return Shard("", 0, "")._asdict() | {"fault": str(error)}
        return shard._asdict() | {"fault": ""}


def _ignore(count: int = 1) -> None:
    """Progress is told by whole shards."""
