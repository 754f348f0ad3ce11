"""SIGINT and SIGTERM: collected by work that saves first, or ending a block, or beginning a shutdown."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupted(Exception):
    """SIGINT or SIGTERM asked work to stop, and it has stopped.

    Args:
        number: the signal's.
        kept: what remains of the work, for the message.

    Attributes:
        signal: the signal's number.
        exit_status: of the command, as shells have it: 128 and the signal's number.
    """

    def __init__(self, number: int, kept: str) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; {kept}")
        self.signal, self.exit_status = number, 128 + number


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
        Interrupted: one came.
    """
    with noted(_interrupt) as received:
        try:
            yield
        except KeyboardInterrupt:
            raise Interrupted(received[0], kept) from None


def _interrupt() -> None:
    # Nothing on the way takes it for an error of its own.
    raise KeyboardInterrupt


def shut_down_on_sigterm(seconds: float, begin: Callable[[], None]) -> None:
    """Upon SIGTERM call `begin` at once, and the handler that was there so many seconds later.

    In these seconds a load balancer finds that this server is not ready. A second SIGTERM does not wait. Call
    it on the main thread, in the event loop, once the server has installed its own handler.
    """
    end, loop = signal.getsignal(signal.SIGTERM), asyncio.get_running_loop()
    if not callable(end):  # nothing would shut down gracefully anyway
        return

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, end)
        begin()
        loop.call_soon_threadsafe(loop.call_later, seconds, end, number, None)

    signal.signal(signal.SIGTERM, handle)
