"""SIGKILL of a worker under load: the other workers keep serving, and a new worker replaces it."""

import time
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil

from serving.settings import Settings
from tests.reliability.finding import Finding
from tests.reliability.servers import ours, tree

PATIENCE = 60.0
"""Maximum seconds to wait for a response or a worker."""


class Killed(NamedTuple):
    """The responses of a server after one of its workers was killed."""

    answered: int
    """Successful responses on new connections after the kill."""

    failed: int
    slowest: float
    """Maximum response time in seconds."""

    returned: bool
    """Whether a new process answered in its place."""


def workers_of(server: psutil.Process) -> list[psutil.Process]:
    """List the worker processes of a server."""
    return [each for each in tree(server) if any("worker.service" in word for word in each.cmdline())]


class Asking:
    """A client that opens a new connection per request and records which process answers, and how fast."""

    def __init__(self, url: str) -> None:
        self.url, self.answered, self.failed, self.slowest = url, 0, 0, 0.0
        self.answerers = set[str]()
        """The processes that answered, by the prefix of their request ids."""

    def ask(self) -> None:
        """Send one request."""
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
        """Send requests until `count` processes have answered; return whether they did in time."""
        start = time.monotonic()
        while len(self.answerers) < count and time.monotonic() - start < PATIENCE:
            self.ask()
        return len(self.answerers) >= count


def kill_one(settings: Settings, log: Path) -> Killed:
    """Kill a worker, and send requests until a new process answers in its place."""
    with ours(settings, log) as (url, server):
        before, after = Asking(url), Asking(url)
        if not before.ask_until_answered_by(settings.workers):
            raise RuntimeError(f"{settings.workers} workers did not start within {PATIENCE:g} s")
        victim = workers_of(server)[0]
        victim.kill()
        psutil.wait_procs([victim], 5)
        after.answerers = set(before.answerers)
        returned = after.ask_until_answered_by(settings.workers + 1)
    return Killed(after.answered, after.failed, after.slowest, returned)


def workers(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Kill one of two workers, and the only worker of another server."""
    of_two = kill_one(Settings(artifacts=artifacts, workers=2), scratch / "two")
    alone = kill_one(Settings(artifacts=artifacts), scratch / "one")
    return Finding(
        "one of two workers is killed: new requests are answered, the slowest within 1 s; a new worker "
        "replaces it",
        f"{of_two.answered:,} of {of_two.answered + of_two.failed:,} answered, the slowest in "
        f"{of_two.slowest:.2f} s; the new worker {'answers' if of_two.returned else 'does not answer'}",
        f"the only worker is killed: the slowest request took {alone.slowest:.2f} s",
        of_two.failed == 0 and of_two.slowest < 1 and of_two.returned and alone.slowest > 1,
    )
