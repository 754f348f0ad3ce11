"""SIGINT and SIGTERM: noted, for work that saves first, or ending a block in order."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Interrupted(Exception):
    """A signal asked the run to stop; it did, after a checkpoint.

    Attributes:
        signal: the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} after a checkpoint")
        self.signal, self.exit_status = number, 128 + number


class Stopped(Exception):
    """A signal asked to stop."""

    def __init__(self, number: int, kept: str) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; {kept}")
        self.exit_status = 128 + number


@contextmanager
def noted(then: Callable[[], None] = lambda: None) -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of the first; a second one ends the process at once.

    Args:
        then: called when the first has come.
    """
    received: list[int] = []
    previous: dict[int, Any] = {}

    def note(number: int, frame: object) -> None:
        received.append(number)
        for each in previous:
            signal.signal(each, signal.SIG_DFL)
        then()

    for number in (int(signal.SIGINT), int(signal.SIGTERM)):
        previous[number] = signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def stoppable(kept: str) -> Iterator[None]:
    """Have SIGINT and SIGTERM end the block as an error does; a second one ends the process at once.

    Args:
        kept: what is left, to be told.

    Raises:
        Stopped: one came.
    """
    with noted(_interrupt) as received:
        try:
            yield
        except KeyboardInterrupt:
            raise Stopped(received[0], kept) from None


def _interrupt() -> None:
    # Nothing on the way takes it for an error of its own.
    raise KeyboardInterrupt
