"""Worker pools: processes that pack samples or write whole shards."""

import functools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from serving.errors import UserError
from serving.offline.shards import pack, write_shard
from serving.runtime.load import load
from serving.runtime.pipeline import Pipeline, Samples

Packed = tuple[range, bytes]
"""Seeds, and their samples packed as a part of a shard."""

Pack = Callable[[Iterable[Samples]], Iterator[Packed]]


@contextmanager
def worker_pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Run a pool of worker processes while the block runs; if the block fails, terminate them.

    Workers ignore a terminal's SIGINT, which the parent handles, and end when the parent ends.
    """
    # A process that runs ONNX Runtime or torch has threads, so it can't be forked.
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _watch_the_parent)
    before = set(multiprocessing.active_children())
    _start(pool, processes)
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start(pool: ProcessPoolExecutor, processes: int) -> None:
    """Start every worker with SIGINT blocked: a terminal sends it to the whole process group."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        for _ in range(processes):
            pool.submit(int)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _watch_the_parent() -> None:
    """Start a thread that ends this process when its parent ends, even if the parent is killed."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)


@contextmanager
def packing(processes: int) -> Iterator[Pack]:
    """Yield a function that packs samples in worker processes, or in this process if there are 0.

    Threads would wait for one another, because packing small images takes more time in Python than in zlib.
    """
    if not processes:
        yield lambda samples: ((some.seeds, pack(some)) for some in samples)
        return
    with worker_pool(processes) as pool:
        yield lambda samples: _pack_in(pool, 2 * processes, samples)


def _pack_in(pool: Executor, most: int, samples: Iterable[Samples]) -> Iterator[Packed]:
    """Pack samples in the pool, in order, with at most `most` batches in memory."""
    waiting: deque[tuple[range, Future[bytes]]] = deque()
    for some in samples:
        waiting.append((some.seeds, pool.submit(pack, some)))
        if len(waiting) == most:
            seeds, part = waiting.popleft()
            yield seeds, part.result()
    for seeds, part in waiting:
        yield seeds, part.result()


def write_alone(
    artifact: Path,
    version: str,
    seeds: range,
    label: int | None,
    path: Path,
    truncation: float | None = None,
    provenance: bool = True,
) -> str:
    """Sample seeds with this process's own engine, write them as a shard, and return its SHA-256.

    Raises:
        OSError: the shard can't be written.
        UserError: the artifact no longer has this version.
    """
    pipeline = _pipeline(artifact, provenance)
    if pipeline.version != version:
        raise UserError(
            f"{artifact} must keep the version {version} while it is used; got {pipeline.version}"
        )
    return write_shard(path, map(pack, pipeline.samples(seeds, label, truncation)))


@functools.cache
def _pipeline(artifact: Path, provenance: bool) -> Pipeline:
    """Load an artifact on one CPU thread, once per process."""
    return load(artifact, provider="cpu", threads=1, provenance=provenance)
