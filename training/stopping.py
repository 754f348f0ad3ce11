"""Long work that a signal stops in order."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Stopped(Exception):
    """A signal asked to stop."""

    def __init__(self, number: int, kept: str) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; {kept}")
        self.exit_status = 128 + number


@contextmanager
def stoppable(kept: str) -> Iterator[None]:
    """Have SIGINT and SIGTERM end the block as an error does; a second one ends the process at once.

    Args:
        kept: what is left, to be told.

    Raises:
        Stopped: one came.
    """
    received: list[int] = []
    previous: dict[int, Any] = {}

    def stop(number: int, frame: object) -> None:
        received.append(number)
        for each in previous:
            signal.signal(each, signal.SIG_DFL)
        # Nothing on the way takes it for an error of its own.
        raise KeyboardInterrupt

    for number in (int(signal.SIGINT), int(signal.SIGTERM)):
        previous[number] = signal.signal(number, stop)
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(received[0], kept) from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
