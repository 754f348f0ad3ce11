"""Micro-batches across requests: rows that wait together run together, without a fixed delay.

While the engine runs one batch, others queue; when it is free, it takes what is waiting, up to `max_rows`.
An idle batcher answers at once, a busy one fills its batches by itself. Only rows of one shape can share a
batch: the one who has waited longest says which.
"""

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from serving.errors import Refusal

Array = NDArray[Any]
Inputs = Mapping[str, Array]


class Notes(Protocol):
    """Who is told what a batcher does."""

    def batch(self, rows: int, seconds: float) -> None:
        """Note a batch that was run, and how long it took."""

    def waiting(self, rows: int) -> None:
        """Note how many rows wait by now."""


FULL_BATCHES = 16
"""So many times what a batch may hold may wait."""


@dataclass(eq=False)
class Job:
    """Rows that want running, and the future of what comes of them."""

    inputs: Inputs
    rows: int
    result: "asyncio.Future[Array]"

    @cached_property
    def shape(self) -> tuple[tuple[int, ...], ...]:
        """The shape of a row."""
        return tuple(array.shape[1:] for array in self.inputs.values())

    @cached_property
    def numbers(self) -> int:
        """Numbers in all the rows."""
        return sum(array.size for array in self.inputs.values())


class Batcher:
    """Run a function of batches for many callers on one event loop.

    Args:
        run: maps named arrays with a common first dimension to one array with the same; called in a thread
            of the batcher's own, one call at a time.
        max_rows: rows in a batch at most; a caller with more is served in parts.
        max_queue: rows that may wait; beyond them callers are refused.
        max_numbers: numbers in a batch at most, one row apart; of full batches' numbers, `FULL_BATCHES` may
            wait.
        notes: told of every batch, and of what waits.
    """

    def __init__(
        self,
        run: Callable[[Inputs], Array],
        max_rows: int = 64,
        max_queue: int = 2048,
        max_numbers: int = sys.maxsize,
        notes: Notes | None = None,
    ) -> None:
        self._notes = notes
        self._run, self.max_rows, self.max_queue, self.max_numbers = run, max_rows, max_queue, max_numbers
        self._waiting: deque[Job] = deque()
        self._rows = self._numbers = 0
        self._running: set[asyncio.Task[None]] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batcher")

    async def submit(self, inputs: Inputs) -> Array:
        """Run some rows in whatever batches they fit into; give the output's rows, in order.

        A caller that is cancelled takes its waiting rows with it.

        Raises:
            Refusal: `busy` (429), too much is waiting already.
        """
        rows = len(next(iter(inputs.values())))
        numbers = sum(array.size for array in inputs.values())
        # One caller alone is never too many: no waiting would make it less.
        full = self._waiting and self._numbers + numbers > FULL_BATCHES * self.max_numbers
        if full or self._rows + rows > self.max_queue:
            raise Refusal(429, "busy", "more work is waiting than the server will hold; try again shortly")
        loop = asyncio.get_running_loop()
        jobs = []
        most = min(self.max_rows, max(1, self.max_numbers * rows // numbers))
        for start in range(0, rows, most):
            part = {name: array[start : start + most] for name, array in inputs.items()}
            jobs.append(Job(part, len(next(iter(part.values()))), loop.create_future()))
        self._waiting.extend(jobs)
        self._count(rows, numbers)
        self._start()
        try:
            outputs = [await job.result for job in jobs]
        except BaseException:
            self._forget(jobs)
            raise
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)

    def _forget(self, jobs: list[Job]) -> None:
        """Drop the jobs of a caller who is gone or has already failed."""
        for job in jobs:
            job.result.cancel()
            if job in self._waiting:
                self._waiting.remove(job)
                self._count(-job.rows, -job.numbers)

    def _count(self, rows: int, numbers: int) -> None:
        """Note that so many more wait."""
        self._rows += rows
        self._numbers += numbers
        if self._notes is not None:
            self._notes.waiting(self._rows)

    @property
    def waiting(self) -> int:
        """Rows accepted and not yet taken up."""
        return self._rows

    def _start(self) -> None:
        """Start a batch if none is running; and one more if it is full, so that the thread goes straight on.

        A full batch gains nothing by waiting for the event loop to hear that the one before it is done.
        """
        if self._waiting and (not self._running or (len(self._running) == 1 and self._is_full)):
            self._running.add(asyncio.get_running_loop().create_task(self._run_batch()))

    @property
    def _is_full(self) -> bool:
        """Tell whether what waits would fill a batch."""
        return self._rows >= self.max_rows or self._numbers >= self.max_numbers

    async def _run_batch(self) -> None:
        """Run the next batch, tell those who wait for it, and start another."""
        batch = self._take()
        self._start()
        outputs = await self._run_together(batch) if batch else []
        self._running.remove(asyncio.current_task())  # type: ignore[arg-type]
        self._start()
        for job, output in zip(batch, outputs, strict=True):
            if job.result.done():
                continue
            if isinstance(output, BaseException):
                job.result.set_exception(output)
            else:
                job.result.set_result(output)

    def _take(self) -> list[Job]:
        """Take the next batch from the queue: the first, and those of its shape that fit in beside it."""
        batch: list[Job] = []
        others: list[Job] = []
        rows, numbers = self.max_rows, self.max_numbers
        while self._waiting:
            job = self._waiting[0]
            alike = not batch or job.shape == batch[0].shape
            if alike and batch and (job.rows > rows or job.numbers > numbers):
                break
            self._waiting.popleft()
            if not alike:
                others.append(job)
                continue
            self._count(-job.rows, -job.numbers)
            batch.append(job)
            rows, numbers = rows - job.rows, numbers - job.numbers
        self._waiting.extendleft(reversed(others))
        return batch

    async def _run_together(self, batch: list[Job]) -> list[Array | BaseException]:
        """Run jobs as one batch; if it fails, run each alone, so that only the one at fault fails."""
        loop = asyncio.get_running_loop()
        try:
            joined = {
                name: np.concatenate([job.inputs[name] for job in batch]) if len(batch) > 1 else array
                for name, array in batch[0].inputs.items()
            }
            start = time.perf_counter()
            output = await loop.run_in_executor(self._thread, self._run, joined)
            rows, seconds = sum(job.rows for job in batch), time.perf_counter() - start
            if len(output) != rows:
                raise ValueError(f"{rows} rows went in, and {len(output)} came out")
        except Exception as error:
            if len(batch) == 1:
                return [error]
            return [(await self._run_together([job]))[0] for job in batch]
        if self._notes is not None:
            self._notes.batch(rows, seconds)
        ends = np.cumsum([job.rows for job in batch])[:-1]
        return list(np.split(output, ends))

    def close(self) -> None:
        """Let the running batch finish and its thread end."""
        self._thread.shutdown()
