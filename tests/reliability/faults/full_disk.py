"""A full disk below the server's log, its metrics and BentoML's files: every request is still answered."""

import os
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import httpx
import psutil

from serving.settings import Settings
from tests.reliability.faults.disk import small_disk
from tests.reliability.finding import Finding
from tests.reliability.servers import Tree, naive, ours, tree

PATIENCE = 5.0
"""Maximum seconds to wait for a response."""

SHARED = 5.0
"""Maximum seconds until every worker has written its metrics."""

CONTROL = "tests.reliability.faults.mapped_metrics:app"

SAMPLE = "/v1/models/pictures/sample"


@dataclass
class Answers:
    """The responses of a server."""

    answered: int = 0
    lost: int = 0
    """Requests without a response, or with another status than 200."""

    slowest: float = 0.0
    """Maximum response time in seconds."""

    def add(self, client: httpx.Client, requests: Iterable[httpx.Request]) -> None:
        """Send requests one after the other, until a few are lost."""
        for request in requests:
            start = time.monotonic()
            try:
                good = client.send(request).status_code == 200
            except httpx.TransportError:
                good = False
            self.answered, self.lost = self.answered + good, self.lost + (not good)
            self.slowest = max(self.slowest, time.monotonic() - start)
            if self.lost > 3:
                return


@dataclass
class Filled:
    """The results of a server on a full disk."""

    answers: Answers
    ended: int = 0
    """Number of the server's processes that have ended."""

    sampled: int = 0
    counted: float = 0.0
    """Sampling requests that were sent, and those that the metrics report when there is space again."""

    @property
    def is_weathered(self) -> bool:
        """Whether every promise was kept."""
        return (self.answers.lost, self.ended) == (0, 0) and self.counted == self.sampled

    def __str__(self) -> str:
        of = self.answers.answered + self.answers.lost
        return (
            f"{self.answers.answered:,} of {of:,} answered, the slowest in {1e3 * self.answers.slowest:.0f} "
            f"ms, {self.ended} processes ended, {self.counted:.0f} of {self.sampled} counted"
        )


def fill(artifacts: Path, scratch: Path, workers: int, rounds: int, early: bool = False) -> Filled:
    """Fill the disk of our server, as soon as it runs or early, and send requests to it."""
    settings, found = Settings(artifacts=artifacts, workers=workers), Filled(Answers())
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(scratch / "disk"))
        folder = str(disk.folder)
        stack.enter_context(patch.dict(os.environ, {"BENTOML_HOME": folder, "TMPDIR": folder}))
        if early:
            disk.fill(None)
        url, server = stack.enter_context(ours(settings, disk.folder / "log"))
        client = stack.enter_context(_client(url))
        before = tree(server)
        disk.fill(server)
        for number in range(rounds):
            sample = client.build_request("POST", SAMPLE, json={"seed": number})
            others = [client.build_request("GET", path) for path in ("/livez", "/readyz", "/metrics")]
            found.answers.add(client, [sample, *others])
        disk.free(server)
        found.ended, found.sampled = _ended(before), rounds
        found.counted = _counted(client, rounds)
    return found


def _counted(client: httpx.Client, wanted: int) -> float:
    """Return the number of sampling requests in the metrics, as soon as it is the wanted one or too late."""
    end, counted = time.monotonic() + SHARED, 0.0
    while counted != wanted and time.monotonic() < end:
        counted = samples_in(client.get("/metrics").text)
        time.sleep(0.1)
    return counted


def fill_control(artifacts: Path, scratch: Path, rounds: int) -> Filled:
    """Fill the disk of a server with mapped files, and send requests to it."""
    settings, found = Settings(artifacts=artifacts), Filled(Answers())
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(scratch / "disk"))
        stack.enter_context(patch.dict(os.environ, {"PROMETHEUS_MULTIPROC_DIR": str(disk.folder)}))
        url, server = stack.enter_context(naive(settings, disk.folder / "log", app=CONTROL))
        client, before = stack.enter_context(_client(url)), tree(server)
        requests = [client.build_request("GET", f"/count/{number}") for number in range(rounds)]
        found.answers.add(client, requests[:1])
        disk.fill(server)
        found.answers.add(client, requests[1:])
        found.ended = _ended(before)
    return found


def samples_in(report: str) -> float:
    """Return the number of sampling requests in a report of our metrics."""
    lines = [line for line in report.splitlines() if line.startswith("ganzoo_requests_total{")]
    return sum(float(line.split()[-1]) for line in lines if 'route="sample"' in line)


def _ended(processes: Tree) -> int:
    """Return how many processes have ended."""
    return sum(not each.is_running() or each.status() == psutil.STATUS_ZOMBIE for each in processes)


def _client(url: str) -> httpx.Client:
    """Return a client with a connection per request, so that every worker is asked."""
    return httpx.Client(base_url=url, timeout=PATIENCE, headers={"Connection": "close"})


def full_disk(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Fill the disk of servers with one worker and with two, and of one with mapped files."""
    rounds, found = 2000 if long else 500, dict[str, Filled]()
    cases = {"one worker": (1, False), "two workers": (2, False), "full before the start": (2, True)}
    with small_disk(scratch / "disk") as disk:
        kind = disk.kind
    if not disk.is_mounted:
        del cases["full before the start"]  # a limit on files needs a server that runs
    for name, (workers, early) in cases.items():
        (scratch / name).mkdir()
        found[name] = fill(artifacts, scratch / name, workers, rounds, early)
    (scratch / "control").mkdir()
    control = fill_control(artifacts, scratch / "control", rounds)
    return Finding(
        f"the disk, {kind}, is full below the log, the metrics and BentoML's files: every request is "
        "answered, and the metrics are complete when there is space again",
        "; ".join(f"{name}: {each}" for name, each in found.items()),
        f"metrics in Prometheus's mapped files: {control.answers.answered} of "
        f"{control.answers.answered + control.answers.lost} answered, {control.ended} process ended",
        all(each.is_weathered for each in found.values()) and not control.is_weathered,
    )
