"""A process that draws and writes whole shards, by an engine of its own; it never loads torch."""

import functools
from pathlib import Path

from serving.offline.shards import pack, write_shard
from serving.runtime.engine import Engine
from serving.runtime.pipeline import Graphs, graphs_of_engine
from serving.runtime.sessions import Options


def write_alone(artifact: Path, version: str, seeds: range, label: int | None, path: Path) -> str:
    """Draw the samples of some seeds and write them as a shard: its SHA-256.

    Raises:
        OSError: it can't be written.
        ValueError: the artifact is not of this version any more.
    """
    graphs = _graphs(artifact)
    if graphs.version != version:
        raise ValueError(f"{artifact} is {graphs.version} now, and was {version}")
    return write_shard(path, map(pack, graphs.samples(seeds, label)))


@functools.cache
def _graphs(artifact: Path) -> Graphs:
    """Open an artifact on one thread of the CPU, once."""
    return graphs_of_engine(Engine(artifact, "cpu", options=Options(threads=1)))
