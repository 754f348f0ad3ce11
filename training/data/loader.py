"""What takes long to read or draw, begun by other threads before it is asked for.

Threads, not processes: decoding and torch's operations leave the interpreter to others, and threads need no
shared memory, no copies of the data, and no care for their end.
"""

import itertools
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from serving.errors import UserError
from serving.system.cpu import cores
from training.data.dataset import Dataset, Loader
from zoo.entry import Batch

Made = TypeVar("Made")

MOST_WORKERS = 8


@contextmanager
def open_loader(data: Dataset, device: torch.device, workers: int | None = None) -> Iterator[Loader]:
    """Hold data on a device where there is room for them; have batches made ahead for it where not.

    Args:
        data: to learn from.
        device: where batches are wanted.
        workers: threads that make them, 0 for none: each is made when it is asked for. By default none for
            the CPU, whose cores the steps themselves want.
    """
    if data.nbytes < available_memory(device):
        yield data.to(device)
        return
    if workers is None:
        workers = 0 if device.type == "cpu" else max(1, min(MOST_WORKERS, cores() // local_world_size()))
    with closing(PrefetchLoader(data, device, workers)) as ahead:
        yield ahead


class PrefetchLoader:
    """The batches of data, the same to the bit; with workers, begun before their steps ask for them."""

    def __init__(self, data: Dataset, device: torch.device, workers: int) -> None:
        self.data, self.device, self.workers = data, device, workers
        self._due: tuple[int, int] | None = None
        self._batches: Iterator[Batch] = iter(())

    def batch(self, step: int, size: int) -> Batch:
        """Give the batch of a step on the device; where it is not the one after the last, begin anew.

        Raises:
            ValueError: an example can't be read; it is named.
        """
        if self._due != (step, size):
            self.close()
            self._batches = map_in_order(partial(self._make, size), itertools.count(step), self.workers)
        self._due = None
        batch = next(self._batches)
        self._due = (step + 1, size)
        return {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}

    def _make(self, size: int, step: int) -> Batch:
        batch = self.data.batch(step, size)
        if self.device.type != "cuda":
            return batch
        with torch.cuda.device(self.device):  # another thread's is the first
            return {name: value.pin_memory() for name, value in batch.items()}

    def close(self) -> None:
        """Begin no more batches."""
        self._due, self._batches = None, iter(())


def map_in_order(make: Callable[[int], Made], numbers: Iterable[int], workers: int) -> Iterator[Made]:
    """Make something of every number, in their order, by so many threads, two ahead for each of them.

    By none, it is made when it is asked for. What `make` raises is raised here, when its turn has come.
    """
    if not workers:
        yield from map(make, numbers)
        return
    left, begun = iter(numbers), deque[Future[Made]]()
    # Each torch of one thread: together they are as many as there shall be.
    threads = ThreadPoolExecutor(workers, "ahead", initializer=partial(torch.set_num_threads, 1))
    try:
        begun.extend(threads.submit(make, number) for number in itertools.islice(left, 2 * workers))
        while begun:
            made = begun.popleft().result()
            begun.extend(threads.submit(make, number) for number in itertools.islice(left, 1))
            yield made
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Where Linux tells a container how much memory it may have (cgroup 2)."""


def available_memory(device: torch.device) -> float:
    """Give half of what a GPU has free, or this process's part of half the memory.

    `GANZOO_DATA_MEMORY`, in GiB, says it otherwise for memory.

    Raises:
        UserError: it says no number.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2
    told = os.environ.get("GANZOO_DATA_MEMORY")
    if not told:
        return _memory() / 2 / local_world_size()
    if not re.fullmatch(r"\d*\.?\d+", told):
        raise UserError(f"GANZOO_DATA_MEMORY must be a number of GiB, such as 0.5; got {told}")
    return float(told) * 2**30


def local_world_size() -> int:
    """Count the processes of the run on this machine, as torchrun tells."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def _memory() -> int:
    """Count the bytes of memory that this process may have."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(there, int(LIMIT.read_text()))
    except (OSError, ValueError):  # no Linux, or no limit
        return there
