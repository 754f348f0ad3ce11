"""Admission control: a limit on concurrent work, checked before memory is allocated."""

import contextlib
from collections.abc import Iterator

from serving.errors import busy


class Admission:
    """A counter of concurrent work with a limit, for use on one event loop.

    Args:
        limit: maximum count that may be held at once.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.held = limit, 0

    @contextlib.contextmanager
    def hold(self, count: int = 1) -> Iterator[None]:
        """Add a count to the work in progress while the block runs.

        Raises:
            APIError: `busy` (429), the limit would be exceeded.
        """
        if self.held + count > self.limit:
            raise busy()
        self.held += count
        try:
            yield
        finally:
            self.held -= count
