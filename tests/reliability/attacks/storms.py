"""Storms of requests: some are answered, the others refused, and those whose clients leave are dropped."""

import asyncio
import json
import multiprocessing
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil

from serving.settings import Settings
from tests.bench.load import request_bytes
from tests.reliability.finding import Finding
from tests.reliability.overload import JSON, LIVE_MS
from tests.reliability.probes import probed
from tests.reliability.servers import naive, ours, tree

FILMS, LEAVERS = 300, 1000
"""Requests for films at once, and such requests whose clients leave at once."""

SPREAD = 0.05
"""Seconds in which all requests of a storm are sent."""

CALM, BUSY = 2.0, 0.25
"""Seconds after which the server is idle again, and the share of a core that an idle server may use."""


class Storm(NamedTuple):
    """The result of one storm."""

    statuses: Counter[int]
    """Responses by their status; 0 counts lost requests."""

    live: float
    """The longest latency of /livez meanwhile, in milliseconds."""

    busy: float
    """Cores in use after the storm, when the server should be idle again."""

    def __str__(self) -> str:
        words = {0: "lost"}
        said = (
            f"{count:,} {words.get(status, f'got {status}')}"
            for status, count in sorted(self.statuses.items())
        )
        head = ", ".join(said) or f"{LEAVERS:,} clients left"
        return f"{head}; /livez {self.live:.0f} ms, {self.busy:.2f} cores busy {CALM:g} s later"

    @property
    def is_weathered(self) -> bool:
        """Whether some requests were answered and the others refused, and the server is idle again."""
        answered = not self.statuses or (self.statuses[200] > 0 and self.statuses.keys() <= {200, 429})
        return answered and self.busy <= BUSY


def storm(url: str, server: psutil.Process, count: int, leave: bool) -> Storm:
    """Send requests for films at once, and measure /livez meanwhile and the server's work afterwards."""
    with probed(url) as live:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            statuses = pool.apply(_send, (url, count, leave))
        time.sleep(CALM)
    before, since = _cpu(server), time.perf_counter()
    time.sleep(1)
    busy = (_cpu(server) - before) / (time.perf_counter() - since)
    return Storm(statuses, max(live), busy)


def _send(url: str, count: int, leave: bool) -> Counter[int]:
    """Send requests on connections that are open already; return the statuses, none if the clients leave."""
    body = json.dumps({"seeds": [1, 2, 3], "n": 32}).encode()
    return asyncio.run(
        _send_all(
            url, request_bytes("POST", f"{url}/v1/models/pictures/interpolate", body, JSON), count, leave
        )
    )


async def _send_all(url: str, request: bytes, count: int, leave: bool) -> Counter[int]:
    place, some = urlsplit(url), asyncio.Semaphore(100)  # fewer than the backlog of the listening socket

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with some:
            return await asyncio.open_connection(place.hostname, place.port)

    async def ask(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        await asyncio.sleep(SPREAD * number / count)
        writer.write(request)
        if leave:
            await writer.drain()
            writer.transport.abort()
            return 0
        with suppress(OSError, IndexError, TimeoutError):
            async with asyncio.timeout(60):
                return int((await reader.readline()).split()[1])
        return 0

    connections = await asyncio.gather(*(connect() for _ in range(count)))
    statuses = await asyncio.gather(*(ask(number, *each) for number, each in enumerate(connections)))
    return Counter() if leave else Counter(statuses)


def _cpu(server: psutil.Process) -> float:
    """Return the seconds of CPU time that the server has used."""
    return sum(sum(process.cpu_times()[:2]) for process in tree(server))


def storms(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Send storms to our server and to one without limits."""
    rounds, settings = 20 if long else 3, Settings(artifacts=artifacts)
    with ours(settings, scratch / "ours") as (url, server):
        found = [storm(url, server, FILMS, False) for _ in range(rounds)]
        left = [storm(url, server, LEAVERS, True) for _ in range(rounds)]
    control_app = "tests.reliability.attacks.careless:app"
    with naive(settings, scratch / "careless", app=control_app) as (url, server):
        control = storm(url, server, FILMS, False)
        forsaken = storm(url, server, LEAVERS, True)
    quietest, last = (min(some, key=lambda each: each.live) for some in (found, left))
    return Finding(
        f"{rounds} storms of {FILMS} requests for films within {1e3 * SPREAD:.0f} ms: some get 200, the "
        f"others 429. {rounds} storms of {LEAVERS:,} such requests whose clients leave at once: their work "
        f"is dropped. {CALM:g} s after each storm, at most {BUSY:g} cores are busy. In the quietest storm of "
        f"each kind, /livez takes at most {LIVE_MS:g} ms",
        f"the quietest storms: {quietest}. {last}",
        f"a server without limits, one storm of each kind: {control}. {forsaken}",
        all(each.is_weathered for each in (*found, *left))
        and max(quietest.live, last.live) <= LIVE_MS < min(control.live, forsaken.live),
    )
