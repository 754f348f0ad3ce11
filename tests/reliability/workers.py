"""A worker killed under load: the others serve on, and it comes back."""

import time
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil

from serving.settings import Settings
from tests.reliability.finding import Finding
from tests.reliability.servers import ours, tree

PATIENCE = 60.0


class Killed(NamedTuple):
    """What a server did when a worker of it was killed."""

    answered: int
    """Good answers to new connections after it."""

    failed: int
    slowest: float
    """Seconds that one of them took."""

    returned: bool
    """Whether there were as many workers again."""


def workers_of(server: psutil.Process) -> list[psutil.Process]:
    """List the processes that serve."""
    return [each for each in tree(server) if any("worker.service" in word for word in each.cmdline())]


def kill_one(settings: Settings, log: Path) -> Killed:
    """Kill a worker, and ask on by new connections until it is back, five seconds at least."""
    answered, failed, slowest = 0, 0, 0.0
    with ours(settings, log) as (url, server):
        _wait_for(settings.workers, server)
        time.sleep(3)
        victim = workers_of(server)[0]
        victim.kill()
        psutil.wait_procs([victim], 5)
        start, returned = time.monotonic(), False
        while not (returned and time.monotonic() - start > 5) and time.monotonic() - start < PATIENCE:
            begin = time.monotonic()
            try:
                answer = httpx.post(f"{url}/v1/models/pictures/sample", json={"seed": 1}, timeout=PATIENCE)
                good = answer.status_code == 200
            except httpx.TransportError:
                good = False
            answered, failed = answered + good, failed + (not good)
            slowest = max(slowest, time.monotonic() - begin)
            others = [each for each in workers_of(server) if each.pid != victim.pid]
            returned = len(others) >= settings.workers
    return Killed(answered, failed, slowest, returned)


def _wait_for(count: int, server: psutil.Process) -> None:
    """Wait until so many workers run."""
    start = time.monotonic()
    while len(workers_of(server)) < count and time.monotonic() - start < PATIENCE:
        time.sleep(0.1)


def workers(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Kill one worker of two, and the only one of one."""
    of_two = kill_one(Settings(artifacts=artifacts, workers=2), scratch / "two")
    alone = kill_one(Settings(artifacts=artifacts), scratch / "one")
    return Finding(
        "a worker of two killed: new requests are answered, the slowest within 1 s, and it comes back",
        f"{of_two.answered} of {of_two.answered + of_two.failed} answered, the slowest in "
        f"{of_two.slowest:.2f} s; it {'came' if of_two.returned else 'did not come'} back",
        f"the only worker killed: the slowest waited {alone.slowest:.2f} s",
        of_two.failed == 0 and of_two.slowest < 1 and of_two.returned and alone.slowest > 1,
    )
