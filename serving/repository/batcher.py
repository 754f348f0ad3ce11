"""Dynamic batching across requests, without a fixed delay.

While the engine runs one batch, further rows wait in a queue. When it is free, it takes the waiting rows, up
to `max_rows`. An idle batcher runs a request at once; under load the batches fill up. Only rows of one shape
can share a batch, and the row that has waited longest determines the shape.
"""

import asyncio
import contextlib
import itertools
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from serving.arrays import Array
from serving.errors import busy
from serving.repository.admission import QueueLimit
from serving.repository.job import Inputs, Job, resolve
from serving.system.stopwatch import Lap, Stopwatch


class BatchMetrics(Protocol):
    """A receiver of a batcher's metrics."""

    def batch(self, rows: int, seconds: float) -> None:
        """Record the rows of a batch that was run, and its duration in seconds."""

    def waiting(self, rows: int) -> None:
        """Record the number of rows that are waiting."""


MIN_ROWS = 8
"""Minimum rows of a part when waiting rows are split between threads."""

PART = 0.2
"""Weight of the last batch in the moving average of the pace."""

FULL_BATCHES = 16
"""Limit on waiting work, in full batches."""


class Batcher:
    """Runs a function on batches of rows from many callers on one event loop.

    Args:
        run: function from named arrays with a common first dimension to one array with the same first
            dimension; it is called in the batcher's threads.
        max_rows: maximum rows in a batch; the rows of a caller with more are split.
        max_queue: maximum rows that may wait; further callers get an API error.
        max_numbers: maximum numbers in a batch, except for a single row; the numbers of `FULL_BATCHES` full
            batches may wait.
        max_seconds: maximum estimated queueing time in seconds, by the pace of recent full batches; further
            callers get an API error; 0 means that it depends on the caller's own duration and on recent
            refusals.
        batches: batches that run at once, each in its own thread; waiting rows are split between idle
            threads.
        notes: receiver of the metrics.
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
        self._notes, self._batches, self._limit = notes, batches, QueueLimit(max_seconds)
        self._typical = 0.0
        """Numbers of a caller, averaged over recent callers."""

        self._pace = 0.0
        """Seconds per number in one thread, averaged over recent full batches; 0 is unknown."""

        self._run, self.max_rows, self.max_queue, self.max_numbers = run, max_rows, max_queue, max_numbers
        self._lock = threading.Lock()
        """Held while the queue and the counters are read or changed, never while a batch runs."""

        self._waiting: deque[Job] = deque()
        self._rows = self._numbers = 0
        self._workers = self._running = self._expected = 0
        self._threads = ThreadPoolExecutor(batches, thread_name_prefix="batcher")

    def admits(self, numbers: float | None = None) -> bool:
        """Decide by the estimated queueing time whether a caller may submit its rows, and remember a refusal.

        Args:
            numbers: the numbers of its rows; None for a typical caller.
        """
        with self._lock:
            return self._admits(self._typical if numbers is None else numbers)

    @contextlib.contextmanager
    def expect(self) -> Iterator[None]:
        """Admit a caller while the block runs, in which it makes its rows and submits them.

        Raises:
            APIError: `busy` (429), the estimated queueing time of a typical caller is too long.
        """
        with self._lock:
            if not self._admits(self._typical):
                raise busy()
            self._expected += 1
        try:
            yield
        finally:
            with self._lock:
                self._expected -= 1

    async def submit(
        self, inputs: Inputs, admitted: bool = False, stopwatch: Stopwatch | None = None
    ) -> Array:
        """Run rows in one batch or more, and return the output's rows in order.

        If the caller is cancelled, its waiting rows are removed from the queue. A caller that is admitted
        already is not refused because of the queueing time.

        Raises:
            APIError: `busy` (429), the queue is full.
        """
        jobs = self._jobs(inputs, asyncio.get_running_loop())
        with self._lock:
            self._accept(jobs, admitted)
            more = min(len(jobs), self._batches - self._workers)
            self._workers += more
        try:
            while more:
                self._threads.submit(self._work)
                more -= 1
            outputs = [await job.result for job in jobs]
            if stopwatch is not None:
                stopwatch.details += [lap for job in jobs for lap in job.laps]
        except BaseException:
            with self._lock:
                self._workers -= more
            self._forget(jobs)
            raise
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)

    def _jobs(self, inputs: Inputs, loop: asyncio.AbstractEventLoop) -> list[Job]:
        """Split rows into jobs that fit into a batch and that all threads can share."""
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
        """Return the maximum rows of a batch if `rows` are split between so many threads."""
        return min(self.max_rows, max(MIN_ROWS, math.ceil(rows / threads)))

    def _accept(self, jobs: list[Job], admitted: bool) -> None:
        """Add a caller's jobs to the queue, all of them or none.

        Raises:
            APIError: `busy` (429), the queue is full.
        """
        rows, numbers = sum(job.rows for job in jobs), sum(job.numbers for job in jobs)
        # If nothing is waiting, any size is accepted: it would not get smaller by waiting.
        self._typical += (PART if self._typical else 1) * (numbers - self._typical)
        full = self._waiting and self._numbers + numbers > FULL_BATCHES * self.max_numbers
        slow = not admitted and not self._admits(numbers)
        if full or slow or self._rows + rows > self.max_queue:
            raise busy()
        self._waiting.extend(jobs)
        self._count(rows, numbers)

    def _admits(self, numbers: float) -> bool:
        pace, others = self._pace / self._batches, self._expected - self._batches
        waiting = max(self._numbers, others * self._typical)
        own = max(numbers, self._typical)
        count = max(len(self._waiting), others)
        return waiting == 0 or self._limit.admits(waiting * pace, own * pace, count)

    def _forget(self, jobs: list[Job]) -> None:
        """Remove the jobs of a caller that was cancelled or has failed."""
        for job in jobs:
            job.result.cancel()
            with self._lock:
                if job in self._waiting:
                    self._waiting.remove(job)
                    self._count(-job.rows, -job.numbers)

    def _count(self, rows: int, numbers: int) -> None:
        """Add to the numbers of waiting rows and numbers, and record the rows."""
        self._rows += rows
        self._numbers += numbers
        if self._notes is not None:
            self._notes.waiting(self._rows)

    @property
    def waiting(self) -> int:
        """Rows that are waiting in the queue."""
        return self._rows

    def _work(self) -> None:
        """Run batches until none is left, in one of the batcher's threads, apart from the event loop."""
        ended = 0
        while batch := self._next(ended):
            try:
                outputs = self._run_together(batch)
            except Exception as error:  # an error in the metrics must not end the thread
                outputs = [error] * len(batch)
            ended = 1
            with contextlib.suppress(RuntimeError):  # the event loop is closed
                batch[0].result.get_loop().call_soon_threadsafe(resolve, batch, outputs)

    def _next(self, ended: int) -> list[Job]:
        """Return the next batch of a thread that has just ended one batch or none.

        If nothing is waiting, the batch is empty and the thread counts as idle.
        """
        with self._lock:
            self._running -= ended
            batch = self._take()
            if batch:
                self._running += 1
            else:
                self._workers -= 1
            return batch

    def _take(self) -> list[Job]:
        """Remove the next batch from the queue: the first job, and those of its shape that fit in."""
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
        """Run jobs as one batch; if it fails, run each job alone, so that only faulty jobs fail."""
        taken = time.perf_counter()
        try:
            joined = {
                name: np.concatenate([job.inputs[name] for job in batch]) if len(batch) > 1 else array
                for name, array in batch[0].inputs.items()
            }
            rows, start = sum(job.rows for job in batch), time.perf_counter()
            output = self._run(joined)
            end = time.perf_counter()
            if len(output) != rows:
                raise RuntimeError(f"a batch of {rows} rows must have {rows} outputs; got {len(output)}")
        except Exception as error:
            if len(batch) == 1:
                return [error]
            return [self._run_together([job])[0] for job in batch]
        self._learn(rows, sum(job.numbers for job in batch), end - start)
        if self._notes is not None:
            self._notes.batch(rows, end - start)
        together = Lap("batch", taken, time.perf_counter(), rows), Lap("engine", start, end, rows)
        for job in batch:
            job.laps = Lap("queue", job.since, taken), *together
        ends = itertools.accumulate(job.rows for job in batch)
        return [output[end - job.rows : end] for job, end in zip(batch, ends, strict=True)]

    def _learn(self, rows: int, numbers: int, seconds: float) -> None:
        """Update the pace from a batch at least half full: on a GPU, one row takes as long as many."""
        if 2 * rows >= self.max_rows or 2 * numbers >= self.max_numbers:
            pace = seconds / numbers
            self._pace += (PART if self._pace else 1) * (pace - self._pace)

    def close(self) -> None:
        """Wait for the running batches and end the threads."""
        self._threads.shutdown()
