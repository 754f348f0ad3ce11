"""One line of JSON for each request, on standard output."""

import asyncio
import json
import os
import sys
from typing import Any

FLUSH = 0.2
"""Seconds that lines are gathered for: one system call then writes them all."""

LONGEST = 500
"""Characters of a path that are written."""


class AccessLog:
    """Writes what happened, a line of JSON each: whatever a client sends, it stays within its line.

    Lines are written a moment later, together; a killed process loses those of its last moment.

    Args:
        descriptor: of the file to write to.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = sys.stdout.fileno() if descriptor is None else descriptor
        self._lines: list[str] = []

    def __call__(self, *, path: str, **fields: Any) -> None:
        """Write a line."""
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH, self.flush)
        self._lines.append(json.dumps({**fields, "path": path[:LONGEST]}))

    def flush(self) -> None:
        """Write what was gathered."""
        lines, self._lines = self._lines, []
        if lines:
            data = memoryview(("\n".join(lines) + "\n").encode())
            while data:
                data = data[os.write(self._descriptor, data) :]
