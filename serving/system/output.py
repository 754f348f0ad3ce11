"""Output of a server: written by a thread of its own, so that a reader who stops reading stops no request."""

import contextlib
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable


class Output:
    """A writer of lines to a file descriptor that never blocks its callers.

    Lines wait in memory while the descriptor can't be written, up to a limit; further ones are dropped.

    Args:
        descriptor: the descriptor; by default that of standard output.
        limit: maximum bytes that wait.
        dropped: function that gets the number of lines that were dropped.
    """

    def __init__(
        self,
        descriptor: int | None = None,
        limit: int = 2**20,
        dropped: Callable[[int], None] = lambda lines: None,
    ) -> None:
        self._descriptor = sys.stdout.fileno() if descriptor is None else descriptor
        self._limit, self._dropped = limit, dropped
        self._texts, self._size = deque[bytes](), 0
        self._changed = threading.Condition()
        threading.Thread(target=self._write_on, name="output", daemon=True).start()

    def write(self, lines: Iterable[str]) -> None:
        """Write lines as soon as the descriptor can be written, or drop all of them if too many wait."""
        lines = list(lines)
        text = "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")
        with self._changed:
            kept = self._size + len(text) <= self._limit
            if kept:
                self._texts.append(text)
                self._size += len(text)
                self._changed.notify_all()
        if not kept:
            self._dropped(len(lines))

    def flush(self, seconds: float = 1.0) -> None:
        """Wait until all lines are written, but no longer than a number of seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._size == 0, seconds)

    def _write_on(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._texts)
                text = self._texts.popleft()
            try:
                left = memoryview(text)
                while left:
                    left = left[os.write(self._descriptor, left) :]
            except OSError:  # nobody will ever read it
                self._dropped(text.count(b"\n"))
            with self._changed:
                self._size -= len(text)
                self._changed.notify_all()


class _Handler(logging.Handler):
    """A handler of Python's logging that writes to an output."""

    def __init__(self, output: Output, replaced: logging.Handler) -> None:
        super().__init__(replaced.level)
        self._output, self.filters = output, replaced.filters
        self.setFormatter(replaced.formatter)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        with contextlib.suppress(Exception):  # a record that can't be formatted must not fail a request
            self._output.write([self.format(record)])


def log_through(output: Output) -> None:
    """Make every logger that writes to standard output or standard error write to an output instead."""
    loggers = [logging.root, *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    for logger in loggers:
        for handler in list(logger.handlers):
            stream = getattr(handler, "stream", None)
            if isinstance(handler, logging.StreamHandler) and stream in (sys.stdout, sys.stderr):
                logger.removeHandler(handler)
                logger.addHandler(_Handler(output, handler))
