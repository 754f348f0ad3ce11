"""What takes long to read or draw, made by other processes before it is asked for, in order."""

import itertools
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from training.data import Batches, Data
from training.room import room
from zoo.entry import Batch

Made = TypeVar("Made")

MOST_WORKERS = 8


@contextmanager
def at_hand(data: Data, device: torch.device, workers: int | None = None) -> Iterator[Batches]:
    """Hold data on a device where there is room for them; have batches made ahead for it where not.

    Args:
        data: to learn from.
        device: where batches are wanted.
        workers: processes that make them, 0 for this one alone; by default none for the CPU, whose cores
            the steps themselves want.
    """
    if data.nbytes < room(device):
        yield data.to(device)
        return
    if workers is None:
        workers = 0 if device.type == "cpu" else min(MOST_WORKERS, os.cpu_count() or 1)
    ahead = Ahead(data, device, workers)
    try:
        yield ahead
    finally:
        ahead.close()


class Ahead:
    """The batches of data, the same to the bit, each begun before its step asks for it."""

    def __init__(self, data: Data, device: torch.device, workers: int) -> None:
        self.data, self.device, self.workers = data, device, workers
        self._due: tuple[int, int] | None = None
        self._batches: Iterator[Batch] = iter(())

    def batch(self, step: int, size: int) -> Batch:
        """Give the batch of a step on the device, and begin those after it; other steps begin anew.

        Raises:
            ValueError: an example can't be read; it is named.
        """
        if self._due != (step, size):
            make = partial(self.data.batch, size=size)
            self._batches = in_order(make, itertools.count(step), self.workers, self.device.type == "cuda")
        self._due = None
        batch = next(self._batches)
        self._due = (step + 1, size)
        return {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}

    def close(self) -> None:
        """End the processes."""
        self._due, self._batches = None, iter(())


def in_order(
    make: Callable[[int], Made], numbers: Iterable[int], workers: int, pinned: bool = False
) -> Iterator[Made]:
    """Make something of every number, in their order, by so many other processes or, of 0, by this one.

    Args:
        make: gives tensors, also within tuples, lists and dicts.
        numbers: what to make them of, without end perhaps.
        workers: processes, each at most two ahead; they end with the iterator.
        pinned: whether to lay the tensors where a GPU copies them from without a wait.

    Raises:
        ValueError: what `make` raises where it can't.
        OSError: likewise.
    """
    loader = DataLoader(
        _Making(make),
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        worker_init_fn=_deaf,
        pin_memory=pinned,
        generator=torch.Generator(),  # the run's own numbers are not to be drawn from
    )
    for made in loader:
        if isinstance(made, Exception):
            raise made
        yield made


class _Making(Dataset[Any], Generic[Made]):
    """Gives what stops it as it is, where torch would tell it with all that the process did."""

    def __init__(self, make: Callable[[int], Made]) -> None:
        self.make = make

    def __getitem__(self, number: int) -> Made | Exception:
        try:
            return self.make(number)
        except (OSError, ValueError) as error:
            return error


def _deaf(worker: int) -> None:
    """Leave signals to the run's own process, which wants its batch before it stops."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
