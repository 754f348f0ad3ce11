"""A limit on the requests that wait for their responses: further ones are refused before any work.

A refusal by the app costs half of what a small response costs. Under twice the load that the process can
answer, most of its time would go into refusals. This one costs a twentieth.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from serving.errors import APIError, busy

BURST, QUEUE, QUEUE_SECONDS = 64, 32, 0.03
"""Requests that may wait at any time; after a refusal, QUEUE, or as many as are answered in QUEUE_SECONDS."""

CALM_SECONDS = 1.0
"""Seconds without a refusal after which BURST requests may wait again."""

WINDOW = 0.1
"""Seconds over which the rate of responses is measured, while at least QUEUE requests wait."""

BUSY, GONE = 429, 499
"""Status of a refusal, and the one in the log if a client disconnects before the response, as in nginx."""

ANY_ID = "0" * 22
"""A request id that stands for all others."""


class BusyResponse:
    """The response to a request that is refused; only the request id and some headers differ.

    Args:
        body: function that returns the body of an error response, by the error and a request id.
    """

    def __init__(self, body: Callable[[APIError, str], bytes]) -> None:
        content = body(busy(), ANY_ID)
        self.size = len(content)
        self._head = (
            f"HTTP/1.1 {BUSY} Too Many Requests\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
            f"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nX-Request-Id: {ANY_ID}\r\n"
            f"Content-Length: {self.size}\r\n"
        ).encode()
        self._content = b"\r\n" + content

    def to(self, method: str, request: str, headers: Mapping[str, str]) -> bytes:
        """Return the whole response to a request with a method and an id, with further headers."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        content = b"\r\n" if method == "HEAD" else self._content
        return (self._head + lines.encode() + content).replace(ANY_ID.encode(), request.encode())


class RequestLimit:
    """The requests of a process whose bodies are complete and whose work is not over, and their limit.

    Args:
        refuse: function that returns the whole response to a refused request, which it logs and counts; None
            for a request that is never refused.
        most: maximum seconds in which those that wait must be answered; 0 means the rule of this module.
    """

    def __init__(self, refuse: Callable[[Mapping[str, Any]], bytes | None], most: float = 0.0) -> None:
        self._refuse, self._most = refuse, most
        self._count, self._pace, self._refused = 0, QUEUE_SECONDS / QUEUE, -CALM_SECONDS
        self._since, self._answered = 0.0, 0

    def enter(self) -> None:
        """Count a request that waits."""
        self._count += 1

    def leave(self, status: int) -> None:
        """Count the end of a request's work, and learn the pace of responses while many wait.

        The app's own refusals and the requests whose clients left teach no pace: they end sooner.
        """
        self._count -= 1
        now = time.perf_counter()
        if status == BUSY:
            self._refused = now
        if status in (BUSY, GONE):
            return
        if self._count < QUEUE:
            self._since, self._answered = now, 0
            return
        self._answered += 1
        if now - self._since > WINDOW:
            self._pace = (now - self._since) / self._answered
            self._since, self._answered = now, 0

    @property
    def is_reached(self) -> bool:
        """Whether one more request would be too many."""
        is_calm = time.perf_counter() - self._refused > CALM_SECONDS
        least, seconds = BURST if is_calm or self._most else QUEUE, self._most or QUEUE_SECONDS
        return self._count >= max(least, seconds / self._pace)

    def refusal(self, scope: Mapping[str, Any]) -> bytes | None:
        """Return the response to a request that is one too many; None if it is never refused."""
        response = self._refuse(scope)
        if response is not None:
            self._refused = time.perf_counter()
        return response
