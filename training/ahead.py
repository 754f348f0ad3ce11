"""Batches made ahead of their steps by other processes, where data are read or drawn as they go."""

import itertools
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from training.data import Batches, Data
from training.room import room
from zoo.entry import Batch

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
        self._batches: Iterator[Any] = iter(())

    def batch(self, step: int, size: int) -> Batch:
        """Give the batch of a step on the device, and begin those after it; other steps begin anew.

        Raises:
            ValueError: an example can't be read; it is named.
        """
        if self._due != (step, size):
            self._batches = self._begin(step, size)
        batch = next(self._batches)
        if isinstance(batch, Exception):
            raise batch
        self._due = (step + 1, size)
        return {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}

    def _begin(self, step: int, size: int) -> Iterator[Any]:
        loader = DataLoader(
            _Steps(self.data, size),
            batch_size=None,
            sampler=itertools.count(step),
            num_workers=self.workers,
            worker_init_fn=_deaf,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # the run's own numbers are not to be drawn from
        )
        return iter(loader)

    def close(self) -> None:
        """End the processes."""
        self._due, self._batches = None, iter(())


class _Steps(Dataset[Batch | Exception]):
    """Batches by their step; what stops one is handed on as it is, to be raised where it is wanted."""

    def __init__(self, data: Data, size: int) -> None:
        self.data, self.size = data, size

    def __getitem__(self, step: int) -> Batch | Exception:
        try:
            return self.data.batch(step, self.size)
        except (OSError, ValueError) as error:
            return error


def _deaf(worker: int) -> None:
    """Leave signals to the run's own process, which wants its batch before it stops."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
