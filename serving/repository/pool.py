"""Threads for work apart from the event loop, such as encoding, with a limit on the work that waits."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from serving.errors import busy
from serving.repository.admission import QueueLimit

Value = TypeVar("Value")

FIRST = 1e-7
"""Seconds of a thread for one unit of work of a kind that has not been measured yet."""

PART = 0.2
"""Weight of the last work in the moving average of a kind's pace."""


class Do(Protocol):
    """A function that calls another one in a thread of the pool."""

    async def __call__(self, function: Callable[..., Value], *operands: Any) -> Value:
        """Return the function's value; if the caller is cancelled first, the function is not called.

        Raises:
            TimeoutError: the function has run for too long; it goes on, and keeps its place until it ends.
        """


class Pool:
    """Threads, and the work that was admitted for them, in seconds that it will take by what was measured.

    Args:
        name: prefix of the threads' names.
        threads: number of threads.
        max_seconds: maximum estimated time for which a caller may have to wait; 0 means that it depends on
            the caller's own duration and on recent refusals.
    """

    def __init__(self, name: str, threads: int, max_seconds: float) -> None:
        self._count, self._limit = threads, QueueLimit(max_seconds)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._paces, self._seconds, self._held = dict[str, float](), 0.0, 0

    @contextlib.contextmanager
    def hold(self, kind: str, amount: int, limit: float | None = None) -> Iterator[Do]:
        """Admit some work while the block runs, and yield the function that does it.

        Args:
            kind: kind of the work; works of a kind take time in proportion to their amounts.
            amount: amount of the work, such as pixels to encode.
            limit: maximum seconds of the work, from its start in a thread; None for no limit.

        Raises:
            APIError: `busy` (429), too much work was admitted before.
        """
        seconds = amount * self._paces.get(kind, FIRST)
        if not self._limit.admits(self._seconds / self._count, seconds, self._held):
            raise busy()
        self._held, self._seconds = self._held + 1, self._seconds + seconds
        threads: list[Future[Any]] = []

        async def do(function: Callable[..., Value], *operands: Any) -> Value:
            loop, started = asyncio.get_running_loop(), asyncio.Event()

            def work() -> Value:
                if limit is not None:
                    loop.call_soon_threadsafe(started.set)
                return self._timed(kind, amount, function, operands)

            threads.append(self._threads.submit(work))
            result = asyncio.wrap_future(threads[-1])
            try:
                if limit is not None:
                    await started.wait()
                return await asyncio.wait_for(result, limit)
            finally:
                result.cancel()

        try:
            yield do
        finally:
            if threads and not threads[-1].done():  # the caller has left, and its thread still works
                loop = asyncio.get_running_loop()
                threads[-1].add_done_callback(lambda _: loop.call_soon_threadsafe(self._release, seconds))
            else:
                self._release(seconds)

    def _release(self, seconds: float) -> None:
        self._held, self._seconds = self._held - 1, self._seconds - seconds

    def _timed(
        self, kind: str, amount: int, function: Callable[..., Value], operands: tuple[Any, ...]
    ) -> Value:
        """Call a function and learn the pace of its kind of work from the time that it takes."""
        start = time.perf_counter()
        value = function(*operands)
        pace = (time.perf_counter() - start) / max(amount, 1)
        before = self._paces.get(kind, pace)
        self._paces[kind] = before + PART * (pace - before)
        return value
