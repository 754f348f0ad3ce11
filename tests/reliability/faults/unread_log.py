"""A log that nobody reads: standard output is a full pipe, and every request is still answered."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from serving.middleware.access_log import FLUSH, LONGEST
from serving.settings import Settings
from tests.bench.load import Load, request_bytes
from tests.reliability.finding import Finding
from tests.reliability.probes import p99, probed
from tests.reliability.servers import naive, ours

PATH = "/v1/models/" + "x" * 500
"""A path that makes the lines of the log long."""

COUNT = "ganzoo_log_lines_lost_total "
"""Start of the line of the metrics that counts lost lines."""

LIVE_MS, STOP_SECONDS = 100.0, 5.0
"""Maximum p99 of /livez, and maximum seconds from SIGTERM to the end."""

HELD = 2**20 + 2**16
"""Bytes of lines that the server's output and the pipe hold; lines beyond them are lost."""

MANY = 2000
"""Number of requests that the control gets."""


@dataclass
class Unread:
    """The results of a server whose log is not read."""

    answered: int = 0
    lost: int = 0
    """Requests without a response."""

    live: list[float] = field(default_factory=list)
    """Latencies of /livez, in milliseconds."""

    lines: float = 0.0
    """Lines of the log that were lost, by the server's metrics."""

    status: int | None = None
    seconds: float = float("inf")
    """Exit status, and seconds from SIGTERM to the end."""

    @property
    def liveness(self) -> float:
        """p99 latency of /livez in milliseconds."""
        return p99(self.live)

    @property
    def least(self) -> int:
        """Minimum number of lost lines: those of the answered requests that nothing can hold."""
        return self.answered - HELD // LONGEST

    @property
    def is_counted(self) -> bool:
        """Whether lines were lost, and the server counted them."""
        return max(self.least, 1) <= self.lines <= self.answered

    @property
    def is_weathered(self) -> bool:
        """Whether every promise was kept."""
        ended = self.status == 0 and self.seconds < STOP_SECONDS
        return self.lost == 0 and self.is_counted and self.liveness < LIVE_MS and ended

    def __str__(self) -> str:
        return (
            f"{self.answered:,} of {self.answered + self.lost:,} answered, p99 of /livez "
            f"{self.liveness:.0f} ms, {self.lines:,.0f} lines lost (at least {self.least:,}), exit status "
            f"{self.status} after {self.seconds:.1f} s"
        )


@contextmanager
def unread_pipe(file: Path) -> Iterator[None]:
    """Make a named pipe that has a reader, who never reads."""
    os.mkfifo(file)
    reader = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield
    finally:
        os.close(reader)


def flood(url: str, seconds: float, found: Unread) -> None:
    """Send requests whose lines fill the pipe, and measure /livez meanwhile."""
    with probed(url) as found.live:
        statuses = Load(url, [request_bytes("GET", url + PATH)], 8).closed(seconds).statuses
    found.answered, found.lost = statuses[404], statuses.total() - statuses[404]


def ignore_log(settings: Settings, log: Path, seconds: float) -> Unread:
    """Run our server with a log that nobody reads, and stop it."""
    found = Unread()
    with unread_pipe(log), ours(settings, log) as (url, server):
        flood(url, seconds, found)
        time.sleep(2 * FLUSH)  # the last lines are written, or lost
        report = httpx.get(f"{url}/metrics").text.splitlines()
        found.lines = next(float(line.split()[1]) for line in report if line.startswith(COUNT))
        start = time.monotonic()
        server.terminate()
        found.status, found.seconds = server.wait(60), time.monotonic() - start
    return found


def ignore_log_of_control(settings: Settings, log: Path) -> int:
    """Run a server that writes its log itself, until it no longer answers; return how often it did."""
    options = ("--log-level", "info", "--access-log")
    with unread_pipe(log), naive(settings, log, *options) as (url, server):
        try:
            return _answers(url)
        finally:
            server.kill()  # it waits for the pipe for ever


def _answers(url: str) -> int:
    """Return how many requests are answered, at most MANY."""
    with httpx.Client(base_url=url, timeout=2) as client:
        for number in range(MANY):
            try:
                client.get(PATH)
            except httpx.TimeoutException:
                return number
    return MANY


def unread_log(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Ignore the log of our server, and of one that writes its log itself."""
    seconds, settings = 60.0 if long else 10.0, Settings(artifacts=artifacts)
    found = ignore_log(settings, scratch / "ours", seconds)
    answered = ignore_log_of_control(settings, scratch / "naive")
    return Finding(
        f"nobody reads the log for {seconds:g} s: every request is answered, p99 of /livez < {LIVE_MS:g} ms, "
        f"lost lines are counted, all but those that {HELD >> 10} KiB can hold, exit status 0 within "
        f"{STOP_SECONDS:g} s of SIGTERM",
        str(found),
        f"a server that writes its log itself: it stops after {answered:,} requests",
        found.is_weathered and answered < MANY,
    )
