"""An end in order: first the server says that it is not ready, then it takes no more, then it ends."""

import asyncio
import signal
from collections.abc import Callable
from types import FrameType


def leave_on_sigterm(seconds: float, leave: Callable[[], None]) -> None:
    """Upon SIGTERM call `leave`; do what would have been done at once so many seconds later.

    Whoever shares the work out between servers has that time to find that this one is not ready. A second
    SIGTERM does not wait. For the main thread, in the event loop, once the server has its own handler.
    """
    end, loop = signal.getsignal(signal.SIGTERM), asyncio.get_running_loop()
    if not callable(end):  # nobody would end in order anyway
        return

    def told(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, end)
        leave()
        loop.call_soon_threadsafe(loop.call_later, seconds, end, number, None)

    signal.signal(signal.SIGTERM, told)
