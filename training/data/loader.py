"""The loader: dataset caching on the device, and prefetching of batches by worker threads.

The workers are threads, not processes. Image decoding and PyTorch operations release the GIL. Threads also
need no shared memory and no copies of the dataset.
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
    """Open a loader: move the dataset to the device if it fits in memory, otherwise prefetch batches.

    Args:
        data: the dataset.
        device: the device of the batches.
        workers: number of prefetch threads. With 0, each batch is made on request. The default is 0 on the
            CPU, because the training step uses all cores.
    """
    if data.nbytes < available_memory(device):
        yield data.to(device)
        return
    if workers is None:
        workers = 0 if device.type == "cpu" else max(1, min(MOST_WORKERS, cores() // local_world_size()))
    with closing(PrefetchLoader(data, device, workers)) as loader:
        yield loader


class PrefetchLoader:
    """Loader that prefetches batches with worker threads. Its batches are bitwise equal to the dataset's."""

    def __init__(self, data: Dataset, device: torch.device, workers: int) -> None:
        self.data, self.device, self.workers = data, device, workers
        self._due: tuple[int, int] | None = None
        self._batches: Iterator[Batch] = iter(())

    def batch(self, step: int, size: int) -> Batch:
        """Return the batch of a step on the device.

        Prefetching restarts if the step does not follow the previous step, or if the batch size changes.

        Raises:
            UserError: an example can't be read. The message names it.
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
        with torch.cuda.device(self.device):  # a new thread starts on device 0
            return {name: value.pin_memory() for name, value in batch.items()}

    def close(self) -> None:
        """Stop prefetching."""
        self._due, self._batches = None, iter(())


def map_in_order(make: Callable[[int], Made], numbers: Iterable[int], workers: int) -> Iterator[Made]:
    """Yield `make(number)` for every number, in order, computed by worker threads.

    Each worker prefetches up to two results. With 0 workers, each result is computed on request. An exception
    in `make` is raised here, at the position of its number.
    """
    if not workers:
        yield from map(make, numbers)
        return
    left, begun = iter(numbers), deque[Future[Made]]()
    # Limit PyTorch to one thread per worker, so that the total equals the number of workers.
    threads = ThreadPoolExecutor(workers, "prefetch", initializer=partial(torch.set_num_threads, 1))
    try:
        begun.extend(threads.submit(make, number) for number in itertools.islice(left, 2 * workers))
        while begun:
            made = begun.popleft().result()
            begun.extend(threads.submit(make, number) for number in itertools.islice(left, 1))
            yield made
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


LIMIT = Path("/sys/fs/cgroup/memory.max")
"""File with the memory limit of a Linux container (cgroup v2)."""


def available_memory(device: torch.device) -> float:
    """Return the bytes available to a dataset on a device.

    On a GPU, this is half of the free memory. On the CPU, it is half of the memory, divided by the number of
    local processes. The environment variable `GANZOO_DATA_MEMORY`, in GiB, overrides the CPU value.

    Raises:
        UserError: `GANZOO_DATA_MEMORY` is not a number.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2
    told = os.environ.get("GANZOO_DATA_MEMORY")
    if not told:
        return _memory() / 2 / local_world_size()
    if not re.fullmatch(r"\d*\.?\d+", told):
        raise UserError(f"GANZOO_DATA_MEMORY must be a number of GiB such as 0.5; got {told}")
    return float(told) * 2**30


def local_world_size() -> int:
    """Return the number of processes of the run on this machine, as set by torchrun."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def _memory() -> int:
    """Return the memory limit of this process in bytes."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(there, int(LIMIT.read_text()))
    except (OSError, ValueError):  # not Linux, or no limit
        return there
