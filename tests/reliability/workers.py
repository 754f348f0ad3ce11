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

    refused: int
    returned: bool
    """Whether there were as many workers again."""


def workers_of(server: psutil.Process) -> list[psutil.Process]:
    """List the processes that serve."""
    return [each for each in tree(server) if any("worker.service" in word for word in each.cmdline())]


def kill_one(settings: Settings, log: Path) -> Killed:
    """Kill a worker, and ask on by new connections until it is back."""
    answered = refused = 0
    with ours(settings, log) as (url, server):
        start = time.monotonic()
        while len(workers_of(server)) < settings.workers and time.monotonic() - start < PATIENCE:
            time.sleep(0.1)
        time.sleep(2)
        victim = workers_of(server)[0]
        victim.kill()
        psutil.wait_procs([victim], 5)
        time.sleep(0.2)
        start, returned = time.monotonic(), False
        while not returned and time.monotonic() - start < PATIENCE:
            try:
                answer = httpx.post(f"{url}/v1/models/pictures/sample", json={"seed": 1}, timeout=10)
                answered += answer.status_code == 200
            except httpx.TransportError:
                refused += 1
            others = [each for each in workers_of(server) if each.pid != victim.pid]
            returned = answered > 0 and len(others) >= settings.workers
    return Killed(answered, refused, returned)


def workers(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Kill one worker of two, and the only one of one."""
    of_two = kill_one(Settings(artifacts=artifacts, workers=2), scratch / "two")
    alone = kill_one(Settings(artifacts=artifacts), scratch / "one")
    return Finding(
        "a worker of two killed: the other serves on, and it comes back",
        f"{of_two.answered} of {of_two.answered + of_two.refused} new requests answered; "
        f"{'it came' if of_two.returned else 'it did not come'} back",
        f"the only worker killed: {alone.refused} requests not answered; "
        f"{'it came' if alone.returned else 'it did not come'} back",
        of_two.refused == 0 and of_two.returned and alone.returned,
    )
