"""Connections whose requests are answered from memory where an answer is kept, before the app is called.

Clients send a short body with the headers or at once after them, so a request waits a moment for its body.
"""

import asyncio
from collections.abc import Callable
from typing import ClassVar

import uvicorn.config

from serving.middleware.answers import ASKED, Asked
from serving.middleware.protocol import BoundedProtocol
from serving.middleware.request_limit import RequestLimit

METHODS = (b"GET", b"POST")

MAX_HELD, HOLD_SECONDS = 2**14, 0.05
"""Maximum bytes of a body that a request waits for, and maximum seconds."""

UNUSUAL = frozenset({b"transfer-encoding", b"expect", b"upgrade"})
"""Headers of requests that are not looked up."""

Headers = list[tuple[bytes, bytes]]

Recall = Callable[[Asked, Headers], bytes | None]
"""Function that returns the whole response to a request; None to pass the request to the app."""


class RecallingProtocol(BoundedProtocol):
    """A connection of which requests that have arrived whole are first looked up in memory."""

    recall: ClassVar[Recall]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start without a request that is held."""
        super().connection_made(transport)
        self._held: bytes | None = None
        self._passing: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a request that is held."""
        self._take()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived; a request whose body does not follow soon is passed to the app."""
        super().data_received(data)
        if self._held is not None and self._is_over:  # an error has been answered in its place
            self._take()
        elif self._held is not None and self._passing is None:
            self._passing = self.loop.call_later(HOLD_SECONDS, self._pass_on)

    def on_headers_complete(self) -> None:
        """Keep a request that may be looked up until its body is complete; pass others to the app."""
        if self._may_be_held():
            self._end_head()
            self._held = b""
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Append a part of the body of a request that is held, or pass it to the app."""
        if self._held is None:
            super().on_body(body)
        else:
            self._held += body

    def on_message_complete(self) -> None:
        """Answer a request that is held, or pass it to the app with what identifies it."""
        if self._held is None:
            super().on_message_complete()
            return
        asked = self.parser.get_method(), self.url, self._held
        response = type(self).recall(asked, self.headers)
        if response is None:
            self.scope["state"][ASKED] = asked
            self._pass_on()
            super().on_message_complete()
            return
        self._take()
        self._waiting = 0
        self.respond(response)

    def _may_be_held(self) -> bool:
        """Whether a request has a short body of known length, and no other is under way before it."""
        headers = dict(self.headers)
        length = headers.get(b"content-length", b"0")
        is_free = self.cycle is None or self.cycle.response_complete
        is_short = length.isdigit() and len(length) <= 5 and int(length) <= MAX_HELD
        return is_free and is_short and self.parser.get_method() in METHODS and UNUSUAL.isdisjoint(headers)

    def _take(self) -> bytes:
        """Release the request that is held, and return its body so far."""
        if self._passing is not None:
            self._passing.cancel()
        held, self._held, self._passing = self._held, None, None
        return held or b""

    def _pass_on(self) -> None:
        body = self._take()
        super().on_headers_complete()
        if body:
            super().on_body(body)


def install(limit: RequestLimit, recall: Recall) -> None:
    """Make uvicorn use this protocol in place of its own.

    Args:
        limit: the limit on requests of this process that wait.
        recall: function that answers from memory.
    """
    RecallingProtocol.limit, RecallingProtocol.recall = limit, staticmethod(recall)
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{RecallingProtocol.__name__}"
