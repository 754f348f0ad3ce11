"""Answers kept in memory: responses that depend on nothing but their request and a model's version."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from typing import Any

from serving.metrics import CACHE_BYTES, CACHE_MISSES

PURE = "ganzoo.pure"
"""Key in a scope of the function that tells whether the same request would still get the same response."""

ASKED = "ganzoo.asked"
"""Key in a scope's state of what identifies a request that has arrived whole."""

Asked = tuple[bytes, bytes, bytes]
"""Method, target and body of a request."""

PART = 16
"""The largest answer has this part of the memory, so that one does not drive out all others."""

OVERHEAD = 1000
"""Bytes that an answer takes beside its body and its request."""

DROPPED = (b"server-timing", b"x-request-id")
"""Headers that belong to one response."""


@dataclass(frozen=True)
class Answer:
    """A whole response with status 200, but for the headers of one response."""

    head: bytes
    body: bytes
    scope: Mapping[str, Any]
    """What the access log and the metrics have of a request: method, path, endpoint and model."""

    is_current: Callable[[], bool]

    @classmethod
    def of(
        cls,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes,
        scope: Mapping[str, Any],
        is_current: Callable[[], bool],
    ) -> "Answer":
        """Return the answer that is a response's headers and body."""
        lines = b"".join(b"%s: %s\r\n" % header for header in headers if header[0] not in DROPPED)
        noted = {name: scope.get(name, "") for name in ("method", "path", "endpoint", "model")}
        return cls(b"HTTP/1.1 200 OK\r\n" + lines, body, noted, is_current)

    def to(self, request: str, headers: Mapping[str, str], since: float) -> bytes:
        """Return the whole response to a request with an id, with further headers.

        Args:
            request: id of the request.
            headers: further headers.
            since: when the request arrived, by `time.perf_counter`.
        """
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        spent = 1e3 * (time.perf_counter() - since)
        own = f"{lines}x-request-id: {request}\r\nserver-timing: cache;dur={spent:.2f}\r\n"
        own += f"date: {_date(int(time.time()))}\r\n\r\n"
        return b"".join([self.head, own.encode("latin-1"), self.body])


class Answers:
    """The answers of a process, of which those that were asked for last are kept.

    Args:
        most: maximum size of all answers in bytes; 0 keeps none.
    """

    def __init__(self, most: int) -> None:
        self._most, self._size = most, 0
        self._kept: OrderedDict[Hashable, tuple[Answer, int]] = OrderedDict()

    def find(self, key: Hashable) -> Answer | None:
        """Return the answer to a request; None if there is none that is current."""
        answer, _ = self._kept.get(key, (None, 0))
        if answer is None:
            return None
        if not answer.is_current():
            self._forget(key)
            return None
        self._kept.move_to_end(key)
        return answer

    def keep(self, key: Hashable, asked: Asked, answer: Answer) -> None:
        """Keep an answer that was not there, and forget others to make room for it."""
        CACHE_MISSES.inc()
        size = len(answer.body) + len(answer.head) + sum(map(len, asked)) + OVERHEAD
        if size * PART > self._most:
            return
        self._forget(key)
        self._kept[key] = answer, size
        self._size += size
        while self._size > self._most:
            self._forget(next(iter(self._kept)))
        CACHE_BYTES.set(self._size)

    def _forget(self, key: Hashable) -> None:
        _, size = self._kept.pop(key, (None, 0))
        self._size -= size
        CACHE_BYTES.set(self._size)


@lru_cache(1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
