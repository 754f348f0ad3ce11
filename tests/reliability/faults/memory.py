"""Too little memory: large requests are refused with 503, small ones are answered, and the server goes on."""

import resource
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psutil

from serving.imaging.codec import encode_jpeg
from serving.settings import Settings
from tests.reliability.finding import Finding
from tests.reliability.servers import changed, naive, ours
from tests.reliability.workers import workers_of

SAMPLE, TRANSLATE = "/v1/models/pictures/sample", "/v1/models/styles/translate"

ROOM = 32 * 2**20
"""Bytes of address space that the server may use beyond what it uses when small requests are answered."""

SAMPLES, ALL = ("png", "zip", "film"), ("translate", "png", "zip", "film")

Kinds = tuple[str, ...]
"""Kinds of requests."""

QUEUE, NEARLY_ALL = 30.0, 0.95
"""Setting of the queueing time in seconds, and minimum share of 200 among the responses afterwards."""

RESTART = 20.0
"""Maximum seconds until a new process answers in place of one that has ended."""

SIDE, CLIENTS = 768, 8
"""Side in pixels of the large images, and number of clients."""


@dataclass
class Pressed:
    """The responses of a server under memory pressure, and afterwards."""

    statuses: Counter[int] = field(default_factory=Counter)
    """Responses per status under pressure; 0 counts requests without a response."""

    hasty: int = 0
    """Responses with status 429 or 503 that do not say when to try again."""

    afterwards: Counter[int] = field(default_factory=Counter)
    ended: bool = False
    """Whether the process ended under pressure."""

    @property
    def is_weathered(self) -> bool:
        """Whether every promise was kept."""
        return self.is_recovered and self.statuses[0] == 0 and not self.ended

    @property
    def is_short(self) -> bool:
        """Whether memory ran short, so that some requests were refused for it."""
        return self.statuses[503] > 0

    @property
    def is_recovered(self) -> bool:
        """Whether every response was in order, and nearly all were 200 afterwards."""
        orderly = {status for status, count in self.statuses.items() if count} <= {0, 200, 429, 503}
        return orderly and self.hasty == 0 and self.is_answering

    @property
    def is_answering(self) -> bool:
        """Whether nearly all responses were 200 afterwards, and the others 429."""
        good, total = self.afterwards[200], self.afterwards.total()
        return set(self.afterwards) <= {200, 429} and total > 0 and good >= NEARLY_ALL * total

    def __str__(self) -> str:
        process = "the process ended" if self.ended else "no process ended"
        return f"{_listed(self.statuses)}; {process}; afterwards {_listed(self.afterwards)}"


def _listed(statuses: Counter[int]) -> str:
    words = {0: "lost"}
    return ", ".join(f"{count:,} {words.get(status, status)}" for status, count in sorted(statuses.items()))


def requests(client: httpx.Client, side: int, rows: int) -> dict[str, httpx.Request]:
    """Make a request of each kind."""
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    image, kind = encode_jpeg(noise), {"content-type": "image/jpeg"}
    film = {"seeds": [1, 2, 3], "n": rows}
    return {
        "translate": client.build_request("POST", TRANSLATE, content=image, headers=kind),
        "png": client.build_request("POST", SAMPLE, json={"n": rows, "format": "png"}),
        "zip": client.build_request("POST", SAMPLE, json={"n": rows, "format": "zip"}),
        "film": client.build_request("POST", "/v1/models/pictures/interpolate", json=film),
    }


class Callers:
    """Clients that send the largest requests of some kinds."""

    def __init__(self, url: str, kinds: Kinds) -> None:
        self.url, self.kinds, self.hasty, self._lock = url, kinds, 0, threading.Lock()

    def ask(self, seconds: float) -> Counter[int]:
        """Send requests for some seconds; return the responses per status."""
        statuses, end = Counter[int](), time.monotonic() + seconds
        threads = [threading.Thread(target=self._ask, args=(statuses, end)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return statuses

    def _ask(self, statuses: Counter[int], end: float) -> None:
        with httpx.Client(base_url=self.url, timeout=60) as client:
            large, number = requests(client, SIDE, 64), 0
            made = [large[kind] for kind in self.kinds]
            while time.monotonic() < end:
                try:
                    answer = client.send(made[number % len(made)])
                    status, is_hasty = answer.status_code, "retry-after" not in answer.headers
                except httpx.TransportError:
                    status, is_hasty = 0, False
                with self._lock:
                    statuses[status] += 1
                    self.hasty += is_hasty and status in (429, 503)
                number += 1
                time.sleep(0 if status == 200 else 0.05)


def press(url: str, process: psutil.Process, seconds: float, kinds: Kinds, room: int = ROOM) -> Pressed:
    """Limit a server's memory and send large requests; then lift the limit, and send them again."""
    callers = Callers(url, kinds)
    with httpx.Client(base_url=url, timeout=60) as client:
        small = requests(client, 64, 1)
        for kind in ("translate", "png"):
            client.send(small[kind])
    _, most = resource.prlimit(process.pid, resource.RLIMIT_AS)
    resource.prlimit(process.pid, resource.RLIMIT_AS, (process.memory_info().vms + room, most))
    found = Pressed(callers.ask(seconds))
    found.ended = not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    if not found.ended:
        resource.prlimit(process.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, most))
    if _is_ready(url):
        found.afterwards = callers.ask(min(seconds, 3))
    found.hasty = callers.hasty
    return found


def _is_ready(url: str) -> bool:
    """Wait until a server is ready; return whether it is in time."""
    end = time.monotonic() + RESTART
    while time.monotonic() < end:
        try:
            if httpx.get(f"{url}/readyz", timeout=RESTART).status_code == 200:
                return True
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    return False


def press_ours(settings: Settings, log: Path, seconds: float, kinds: Kinds, room: int = ROOM) -> Pressed:
    """Press our server."""
    with ours(settings, log) as (url, server):
        return press(url, workers_of(server)[0], seconds, kinds, room)


def press_control(settings: Settings, log: Path, seconds: float) -> Pressed:
    """Press the naive server, with requests that it can answer."""
    with naive(settings, log) as (url, server):
        return press(url, server, seconds, ("translate", "png"))


def memory(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Press our server with samples and with all kinds of requests, and the naive one."""
    seconds, settings = 300.0 if long else 20.0, Settings(artifacts=artifacts, max_queue_seconds=QUEUE)
    samples = press_ours(settings, scratch / "samples", seconds, SAMPLES)
    everything = press_ours(settings, scratch / "all", seconds, ALL)
    control = press_control(settings, scratch / "naive", min(seconds, 20.0))
    recovered = samples.is_weathered and everything.is_recovered
    return Finding(
        f"large requests with only {ROOM >> 20} MiB of address space left (RLIMIT_AS), with "
        f"{changed(settings)}: some get 503, the others 200 or 429, and refusals have Retry-After; "
        f"without the limit, at least {NEARLY_ALL:.0%} get 200; samples end no process; with translations "
        "among them, ONNX Runtime may end it, and a new one takes its place",
        f"samples: {samples}; with translations: {everything}",
        f"the naive server: {control}",
        recovered and samples.is_short and everything.is_short and not control.is_recovered,
    )
