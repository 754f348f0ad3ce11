"""SIGINT and SIGTERM: collecting them, ending a block, or starting a graceful shutdown."""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupted(Exception):
    """Work was stopped by SIGINT or SIGTERM.

    Args:
        number: number of the signal.
        kept: what is kept of the work, for the message.

    Attributes:
        signal: number of the signal.
        exit_status: exit status of the command, 128 plus the number of the signal, as in shells.
    """

    def __init__(self, number: int, kept: str) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; {kept}")
        self.signal, self.exit_status = number, 128 + number


@contextmanager
def noted(then: Callable[[], None] = lambda: None) -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM while the block runs, and yield the list of signals received.

    The first signal does not end the process; a second one ends it at once. In another thread than the main
    one, nothing is collected.

    Args:
        then: called after the first signal.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield received
        return
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
    """Raise an exception in the block at SIGINT or SIGTERM; a second signal ends the process at once.

    Args:
        kept: what is kept of the work, for the message.

    Raises:
        Interrupted: a signal was received.
    """
    with noted(_interrupt) as received:
        try:
            yield
        except KeyboardInterrupt:
            raise Interrupted(received[0], kept) from None


def _interrupt() -> None:
    # `except Exception` does not catch it.
    raise KeyboardInterrupt


def shut_down_on_sigterm(
    seconds: float, begin: Callable[[], None], finish: Callable[[], Awaitable[None]]
) -> None:
    """Install a handler of SIGTERM that calls `begin`, after a delay `finish`, and then the server's handler.

    During the delay, a load balancer finds that this server is not ready. A second SIGTERM is not delayed.
    Call this function on the main thread, in the event loop, after the server has installed its handler.

    Args:
        seconds: the delay.
        begin: function to call first.
        finish: function that ends the accepted work.
    """
    end, loop = signal.getsignal(signal.SIGTERM), asyncio.get_running_loop()
    if not callable(end):  # there is no handler for a graceful shutdown
        return
    ending: list[asyncio.Task[None]] = []  # the loop itself keeps no task

    async def end_gently(number: int) -> None:
        await asyncio.sleep(seconds)
        try:
            await finish()
        finally:
            end(number, None)

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, end)
        begin()
        loop.call_soon_threadsafe(lambda: ending.append(loop.create_task(end_gently(number))))

    signal.signal(signal.SIGTERM, handle)
