"""Thousands of malformed requests: none gets a status 5xx, none is slow, and the server stays up."""

import hashlib
import itertools
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import httpx

from serving.settings import Settings
from tests.reliability.finding import Finding
from tests.reliability.mutants import CORPUS, Case, cases
from tests.reliability.servers import naive, ours

SLOW = 1.0
"""Maximum response time in seconds."""


class Fuzzed(NamedTuple):
    """The result of a fuzzing run."""

    count: int
    failed: list[tuple[Case, int]]
    """Requests that got a status 5xx or no response, with the status; 0 means no response."""

    slowest: float

    @property
    def is_sound(self) -> bool:
        """Whether no request failed and none was slow."""
        return not self.failed and self.slowest < SLOW


def fuzz(url: str, count: int, seed: int = 0) -> Fuzzed:
    """Send `count` malformed requests, one at a time."""
    failed, slowest = [], 0.0
    with httpx.Client(timeout=30) as client:
        for case in itertools.islice(cases(seed), count):
            start = time.perf_counter()
            status = send(client, url, case)
            slowest = max(slowest, time.perf_counter() - start)
            if status >= 500 or status == 0:
                failed.append((case, status))
    return Fuzzed(count, failed, slowest)


def send(client: httpx.Client, url: str, case: Case) -> int:
    """Send one request; return the response status, or 0 if there was no response."""
    headers = {name: value.encode() for name, value in case.headers.items() if value}
    try:
        place = url + quote(case.path, safe="/%?=&*")
        return client.request(case.method, place, content=case.body, headers=headers).status_code
    except httpx.TransportError:
        return 0


def keep(failed: list[tuple[Case, int]]) -> None:
    """Add the images that made a server fail to the corpus, so that later runs send them again."""
    for case, _ in failed:
        if "translate" in case.path and case.headers.get("Content-Type", "").startswith(("image", "appl")):
            (CORPUS / f"found-{hashlib.sha256(case.body).hexdigest()[:12]}").write_bytes(case.body)


def fuzzing(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Fuzz our server and the naive one."""
    count, settings = 1_000_000 if long else 5000, Settings(artifacts=artifacts)
    with ours(settings, scratch / "ours") as (url, _):
        found = fuzz(url, count)
        alive = httpx.get(f"{url}/readyz").status_code == 200
    keep(found.failed)
    with naive(settings, scratch / "naive") as (url, _):
        careless = fuzz(url, 500)
    return Finding(
        f"{count:,} malformed requests: no status 5xx, none takes over {SLOW:g} s, the server stays up",
        f"{len(found.failed)} failed, the slowest took {found.slowest:.2f} s",
        f"a server without middleware: {len(careless.failed)} of {careless.count:,} failed",
        found.is_sound and alive and len(careless.failed) > 0,
    )
