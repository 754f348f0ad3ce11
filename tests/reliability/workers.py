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
    """Whether another process answered in its place."""


def workers_of(server: psutil.Process) -> list[psutil.Process]:
    """List the processes that serve."""
    return [each for each in tree(server) if any("worker.service" in word for word in each.cmdline())]


class Asking:
    """A client that asks by a new connection each time, and notes who answers how fast."""

    def __init__(self, url: str) -> None:
        self.url, self.answered, self.failed, self.slowest = url, 0, 0, 0.0
        self.answerers = set[str]()
        """Processes, by what their requests' ids begin with."""

    def ask(self) -> None:
        """Ask once."""
        begin = time.monotonic()
        try:
            answer = httpx.post(f"{self.url}/v1/models/pictures/sample", json={"seed": 1}, timeout=PATIENCE)
            good = answer.status_code == 200
            self.answerers.add(answer.headers.get("x-request-id", "")[:12])
        except httpx.TransportError:
            good = False
        self.answered, self.failed = self.answered + good, self.failed + (not good)
        self.slowest = max(self.slowest, time.monotonic() - begin)

    def ask_until_answered_by(self, count: int) -> bool:
        """Ask until so many processes have answered; tell whether they have."""
        start = time.monotonic()
        while len(self.answerers) < count and time.monotonic() - start < PATIENCE:
            self.ask()
        return len(self.answerers) >= count


def kill_one(settings: Settings, log: Path) -> Killed:
    """Kill a worker, and ask on until another process answers in its place."""
    with ours(settings, log) as (url, server):
        before, after = Asking(url), Asking(url)
        if not before.ask_until_answered_by(settings.workers):
            raise RuntimeError("the workers did not come up")
        victim = workers_of(server)[0]
        victim.kill()
        psutil.wait_procs([victim], 5)
        after.answerers = set(before.answerers)
        returned = after.ask_until_answered_by(settings.workers + 1)
    return Killed(after.answered, after.failed, after.slowest, returned)


def workers(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Kill one worker of two, and the only one of one."""
    of_two = kill_one(Settings(artifacts=artifacts, workers=2), scratch / "two")
    alone = kill_one(Settings(artifacts=artifacts), scratch / "one")
    return Finding(
        "a worker of two killed: new requests are answered, the slowest within 1 s; another takes its place",
        f"{of_two.answered:,} of {of_two.answered + of_two.failed:,} answered, the slowest in "
        f"{of_two.slowest:.2f} s; another {'answers' if of_two.returned else 'does not answer'}",
        f"the only worker killed: the slowest waited {alone.slowest:.2f} s",
        of_two.failed == 0 and of_two.slowest < 1 and of_two.returned and alone.slowest > 1,
    )
