"""The access log: one line of JSON per request, on standard output."""

import asyncio
import json
import os
import sys
from typing import Any

FLUSH = 0.2
"""Seconds that lines are buffered before one system call writes them."""

LONGEST = 500
"""Maximum characters of a path that are written."""


class AccessLog:
    """Writes one line of JSON per request.

    A request can't add lines of its own, because JSON escapes line breaks. Lines are buffered for FLUSH
    seconds; if the process is killed, the buffered lines are lost.

    Args:
        descriptor: descriptor of the file to write to; standard output by default.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = sys.stdout.fileno() if descriptor is None else descriptor
        self._lines: list[str] = []

    def __call__(self, *, path: str, **fields: Any) -> None:
        """Add a line to the buffer."""
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH, self.flush)
        self._lines.append(json.dumps({**fields, "path": path[:LONGEST]}))

    def flush(self) -> None:
        """Write the buffered lines."""
        lines, self._lines = self._lines, []
        if lines:
            data = memoryview(("\n".join(lines) + "\n").encode())
            while data:
                data = data[os.write(self._descriptor, data) :]
