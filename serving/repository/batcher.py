"""Micro-batches across requests: rows that wait together run together, without a fixed delay.

While the engine runs one batch, others queue; when it is free, it takes what is waiting, up to `max_rows`.
An idle batcher answers at once, a busy one fills its batches by itself. Only rows of one shape can share a
batch: the one who has waited longest says which.
"""

import asyncio
import contextlib
import itertools
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from serving.arrays import Array
from serving.errors import busy

Inputs = Mapping[str, Array]


class BatchMetrics(Protocol):
    """Who is told what a batcher does."""

    def batch(self, rows: int, seconds: float) -> None:
        """Note a batch that was run, and how long it took."""

    def waiting(self, rows: int) -> None:
        """Note how many rows wait by now."""


FEW = 8
"""Rows that are not worth parting between threads."""

PART = 0.2
"""Of what is known of the pace, what the last batch makes up."""

FULL_BATCHES = 16
"""So many times what a batch may hold may wait."""


@dataclass(eq=False)
class Job:
    """Rows that want running, and the future of what comes of them."""

    inputs: Inputs
    rows: int
    numbers: int
    result: "asyncio.Future[Array]"

    @cached_property
    def shape(self) -> tuple[tuple[int, ...], ...]:
        """The shape of a row."""
        return tuple(array.shape[1:] for array in self.inputs.values())


class Batcher:
    """Run a function of batches for many callers on one event loop.

    Args:
        run: maps named arrays with a common first dimension to one array with the same; called in threads
            of the batcher's own.
        max_rows: rows in a batch at most; a caller with more is served in parts.
        max_queue: rows that may wait; beyond them callers are refused.
        max_numbers: numbers in a batch at most, one row apart; of full batches' numbers, `FULL_BATCHES` may
            wait.
        max_seconds: estimated seconds of work that may wait, by how long the last full batches took;
            beyond, callers are refused.
        batches: that run at once, each in its thread; what waits is shared out between those that are idle.
        notes: told of every batch, and of what waits.
    """

    def __init__(
        self,
        run: Callable[[Inputs], Array],
        max_rows: int = 64,
        max_queue: int = 2048,
        max_numbers: int = sys.maxsize,
        max_seconds: float = math.inf,
        batches: int = 1,
        notes: BatchMetrics | None = None,
    ) -> None:
        self._notes, self._batches, self._max_seconds = notes, batches, max_seconds
        self._pace = 0.0
        """Seconds that a thread takes for a number, as the last full batches went; 0 is unknown."""

        self._run, self.max_rows, self.max_queue, self.max_numbers = run, max_rows, max_queue, max_numbers
        self._lock = threading.Lock()
        """Held while what waits and who works is looked at or changed, never while anything runs."""

        self._waiting: deque[Job] = deque()
        self._rows = self._numbers = 0
        self._workers = self._running = 0
        self._threads = ThreadPoolExecutor(batches, thread_name_prefix="batcher")

    async def submit(self, inputs: Inputs) -> Array:
        """Run some rows in whatever batches they fit into; give the output's rows, in order.

        A caller that is cancelled takes its waiting rows with it.

        Raises:
            APIError: `busy` (429), too much is waiting already.
        """
        jobs = self._jobs(inputs, asyncio.get_running_loop())
        with self._lock:
            self._accept(jobs)
            more = min(len(jobs), self._batches - self._workers)
            self._workers += more
        try:
            while more:
                self._threads.submit(self._work)
                more -= 1
            outputs = [await job.result for job in jobs]
        except BaseException:
            with self._lock:
                self._workers -= more
            self._forget(jobs)
            raise
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)

    def _jobs(self, inputs: Inputs, loop: asyncio.AbstractEventLoop) -> list[Job]:
        """Part rows into what fits into a batch, and so that all threads can have a part."""
        rows = len(next(iter(inputs.values())))
        numbers = sum(array.size for array in inputs.values())
        most = min(self._share(rows, self._batches), max(1, self.max_numbers * rows // numbers))
        jobs = []
        for start in range(0, rows, most):
            part = {name: array[start : start + most] for name, array in inputs.items()}
            count = min(most, rows - start)
            jobs.append(Job(part, count, numbers * count // rows, loop.create_future()))
        return jobs

    def _share(self, rows: int, threads: int) -> int:
        """Give the rows of a batch at most, if so many are shared out between so many threads."""
        return min(self.max_rows, max(FEW, math.ceil(rows / threads)))

    def _accept(self, jobs: list[Job]) -> None:
        """Put a caller's jobs into the queue, if there is room for all of them."""
        rows, numbers = sum(job.rows for job in jobs), sum(job.numbers for job in jobs)
        # One caller alone is never too many: no waiting would make it less.
        full = self._waiting and self._numbers + numbers > FULL_BATCHES * self.max_numbers
        if full or self.is_slow or self._rows + rows > self.max_queue:
            raise busy()
        self._waiting.extend(jobs)
        self._count(rows, numbers)

    @property
    def is_slow(self) -> bool:
        """Tell whether whoever comes now would have to wait for too long."""
        return self._rows > 0 and self._numbers * self._pace > self._max_seconds * self._batches

    def _forget(self, jobs: list[Job]) -> None:
        """Drop the jobs of a caller who is gone or has already failed."""
        for job in jobs:
            job.result.cancel()
            with self._lock:
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

    def _work(self) -> None:
        """Run batches as long as there are any, in a thread of the batcher's: it waits for no event loop."""
        ended = 0
        while batch := self._next(ended):
            try:
                outputs = self._run_together(batch)
            except Exception as error:  # whoever is told of batches must not end them
                outputs = [error] * len(batch)
            ended = 1
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
                batch[0].result.get_loop().call_soon_threadsafe(_tell, batch, outputs)

    def _next(self, ended: int) -> list[Job]:
        """Take the next batch, one having ended or none; where there is nothing, a thread's work is over."""
        with self._lock:
            self._running -= ended
            batch = self._take()
            if batch:
                self._running += 1
            else:
                self._workers -= 1
            return batch

    def _take(self) -> list[Job]:
        """Take the next batch from the queue: the first, and those of its shape that fit in beside it."""
        batch: list[Job] = []
        others: list[Job] = []
        rows, numbers = self._share(self._rows, self._batches - self._running), self.max_numbers
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

    def _run_together(self, batch: list[Job]) -> list[Array | BaseException]:
        """Run jobs as one batch; if it fails, run each alone, so that only the one at fault fails."""
        try:
            joined = {
                name: np.concatenate([job.inputs[name] for job in batch]) if len(batch) > 1 else array
                for name, array in batch[0].inputs.items()
            }
            rows, start = sum(job.rows for job in batch), time.perf_counter()
            output = self._run(joined)
            seconds = time.perf_counter() - start
            if len(output) != rows:
                raise RuntimeError(f"{rows} rows went in, and {len(output)} came out")
        except Exception as error:
            if len(batch) == 1:
                return [error]
            return [self._run_together([job])[0] for job in batch]
        self._learn(rows, sum(job.numbers for job in batch), seconds)
        if self._notes is not None:
            self._notes.batch(rows, seconds)
        ends = itertools.accumulate(job.rows for job in batch)
        return [output[end - job.rows : end] for job, end in zip(batch, ends, strict=True)]

    def _learn(self, rows: int, numbers: int, seconds: float) -> None:
        """Learn the pace from a batch that was at least half full: on a GPU one row takes as long as many."""
        if 2 * rows >= self.max_rows or 2 * numbers >= self.max_numbers:
            pace = seconds / numbers
            self._pace += (PART if self._pace else 1) * (pace - self._pace)

    def close(self) -> None:
        """Let the running batches finish and their threads end."""
        self._threads.shutdown()


def _tell(batch: list[Job], outputs: list[Array | BaseException]) -> None:
    """Give those who still wait what came of their jobs."""
    for job, output in zip(batch, outputs, strict=True):
        if job.result.done():
            continue
        if isinstance(output, BaseException):
            job.result.set_exception(output)
        else:
            job.result.set_result(output)
