"""How much may be at work at once: what is too much is refused before it takes memory."""

import contextlib
from collections.abc import Iterator

from serving.errors import busy


class Admission:
    """Counts what is at work, on one event loop.

    Args:
        limit: that may be held at once.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.held = limit, 0

    @contextlib.contextmanager
    def hold(self, count: int = 1) -> Iterator[None]:
        """Hold so much while the block runs.

        Raises:
            APIError: `busy` (429), there would be too much.
        """
        if self.held + count > self.limit:
            raise busy()
        self.held += count
        try:
            yield
        finally:
            self.held -= count
