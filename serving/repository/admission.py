"""Admission control: limits on concurrent work, checked before memory is allocated or time is spent."""

import contextlib
import time
from collections.abc import Iterator

from serving.errors import busy

BURST_SECONDS, QUEUE_SECONDS, CALM_SECONDS = 0.2, 0.02, 1.0
"""By default, a request may wait for BURST_SECONDS, but only for QUEUE_SECONDS until CALM_SECONDS after a
refusal.

A burst is soon over, and its requests may wait. If a queue keeps growing, its length makes every request
later and no server faster."""

OWN_TIMES = 4
"""A request that takes long itself may wait for so many times its own duration."""

ALWAYS = 6
"""By default, so many requests may always wait: a browser, with its six connections, is not refused alone."""


class QueueLimit:
    """The time for which requests may wait.

    Args:
        most: maximum of the wait in seconds; 0 means that it depends on the request and on recent refusals.
    """

    def __init__(self, most: float) -> None:
        self._most, self._refused = most, -CALM_SECONDS

    def admits(self, wait: float, own: float, waiting: int) -> bool:
        """Decide whether a request may wait, and remember a refusal.

        Args:
            wait: estimated seconds until it runs.
            own: estimated duration of the request itself, in seconds.
            waiting: number of requests that wait already.
        """
        if self._most:
            return wait <= self._most
        now = time.monotonic()
        usual = BURST_SECONDS if now - self._refused > CALM_SECONDS else QUEUE_SECONDS
        admitted = wait <= max(usual, OWN_TIMES * own) or waiting <= ALWAYS
        if not admitted:
            self._refused = now
        return admitted


class Admission:
    """A count of concurrent work with a limit, for use on one event loop.

    Args:
        limit: maximum count that may be held at once.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.held = limit, 0

    def take(self, count: int) -> None:
        """Add a count to the work in progress; it must be given back.

        Raises:
            APIError: `busy` (429), the limit would be exceeded.
        """
        if self.held + count > self.limit:
            raise busy()
        self.held += count

    def give(self, count: int) -> None:
        """Remove a count from the work in progress."""
        self.held -= count

    @contextlib.contextmanager
    def hold(self, count: int = 1) -> Iterator[None]:
        """Add a count to the work in progress while the block runs.

        Raises:
            APIError: `busy` (429), the limit would be exceeded.
        """
        self.take(count)
        try:
            yield
        finally:
            self.give(count)
