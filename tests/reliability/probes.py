"""Measure a server, such as the latency of /livez, while something else happens to it."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import httpx
import numpy as np

PAUSE = 0.05
"""Seconds between requests."""


def p99(times: Sequence[float]) -> float:
    """Return the 99th percentile; infinity without any."""
    return float(np.percentile(times, 99)) if times else float("inf")


@contextmanager
def repeated(look: Callable[[], object], pause: float) -> Iterator[None]:
    """Call a function in a thread while the block runs, with a pause in seconds before each call."""
    over = threading.Event()

    def look_on() -> None:
        while not over.wait(pause):
            look()

    thread = threading.Thread(target=look_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def probed(url: str) -> Iterator[list[float]]:
    """Ask /livez twenty times a second while the block runs; yield the latencies in milliseconds."""
    live = list[float]()
    with httpx.Client(base_url=url, timeout=30) as client:

        def probe() -> None:
            start = time.perf_counter()
            client.get("/livez")
            live.append(1e3 * (time.perf_counter() - start))

        with repeated(probe, PAUSE):
            yield live
