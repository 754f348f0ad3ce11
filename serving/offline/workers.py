"""Samples packed beside the engine, in order, a bounded number of batches at a time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager

from serving.offline.shards import Samples, pack
from training.crew import crew

Packed = tuple[range, bytes]
"""Seeds, and their samples as a part of a shard."""

Pack = Callable[[Iterable[Samples]], Iterator[Packed]]


@contextmanager
def packing(processes: int) -> Iterator[Pack]:
    """Give what packs samples: in so many processes beside, or by turns with the engine where there are none.

    Small pictures take more of Python than of zlib, so that threads would wait for one another.
    """
    if not processes:
        yield lambda samples: ((some.seeds, pack(some)) for some in samples)
        return
    with crew(processes) as pool:
        yield lambda samples: _pack(pool, 2 * processes, samples)


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
