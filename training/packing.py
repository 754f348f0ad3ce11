"""Samples packed beside the engine, in order, a bounded number of batches at a time."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager

from training.shards import Samples, pack

Packed = tuple[range, bytes]
"""Seeds, and their samples as a part of a shard."""

Pack = Callable[[Iterable[Samples]], Iterator[Packed]]


@contextmanager
def packing(processes: int) -> Iterator[Pack]:
    """Start what packs samples: so many processes, or a thread where there are none.

    Small pictures take more of Python than of zlib, so that threads would wait for one another.
    """
    pool: Executor
    if processes:
        # What runs ONNX Runtime or torch has threads, and can't be forked.
        pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _watch_the_parent)
        _start(pool, processes)
    else:
        pool = ThreadPoolExecutor(1)
    try:
        yield lambda samples: _pack(pool, 2 * max(1, processes), samples)
    finally:
        pool.shutdown(cancel_futures=True)


def _pack(pool: Executor, ahead: int, samples: Iterable[Samples]) -> Iterator[Packed]:
    """Pack in the pool; of so many batches the first must be done before another is drawn."""
    waiting: deque[tuple[range, Future[bytes]]] = deque()
    for some in samples:
        waiting.append((some.seeds, pool.submit(pack, some)))
        if len(waiting) == ahead:
            seeds, part = waiting.popleft()
            yield seeds, part.result()
    for seeds, part in waiting:
        yield seeds, part.result()


def _start(pool: Executor, processes: int) -> None:
    """Start every process, deaf to SIGINT: a terminal sends it to all, and it is for the parent."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        for _ in range(processes):
            pool.submit(int)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _watch_the_parent() -> None:
    """Have the process end when its parent has, even if that was killed."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)
