"""Twice the capacity of a server as load, with default settings: accepted requests keep their latency."""

import json
from pathlib import Path
from typing import NamedTuple

from serving.settings import Settings
from tests.bench.load import Load, Outcome, request_bytes
from tests.bench.serving import upload
from tests.reliability.finding import Finding
from tests.reliability.probes import p99, probed
from tests.reliability.servers import ours_apart

JSON = {"Content-Type": "application/json"}

CALLS = ("npy", "png", "zip", "film", "translate")
"""Kinds of requests, each with a trial of its own."""

CONNECTIONS = {"npy": 64}
"""Connections at which the server answers most requests; 4 unless given."""

STRETCH, GOODPUT, REFUSED_MS, LIVE_MS = 5.0, 0.9, 50.0, 100.0
"""Maximum ratio of the latencies' p99; minimum share of the capacity; maximum p99 of refusals and /livez."""


def requests(url: str, call: str) -> list[bytes]:
    """Return some requests of a kind, as bytes."""
    bodies: dict[str, dict[str, object]] = {
        "npy": {"format": "npy"},
        "png": {"n": 64, "format": "png"},
        "zip": {"n": 64, "format": "zip"},
        "film": {"seeds": [1, 2, 3], "n": 32},
    }
    if call == "translate":
        return [upload(f"{url}/v1/models/styles/translate", seed) for seed in range(8)]
    path = f"{url}/v1/models/pictures/{'interpolate' if call == 'film' else 'sample'}"
    seeds = [{}] if call == "film" else [{"seed": seed} for seed in range(8)]
    return [request_bytes("POST", path, json.dumps(bodies[call] | seed).encode(), JSON) for seed in seeds]


class Flood(NamedTuple):
    """The results of one server at several loads."""

    capacity: float
    """Maximum successful responses per second."""

    half: Outcome
    twice: Outcome
    live: list[float]
    """Latencies of /livez at twice the capacity, in milliseconds."""

    @property
    def stretch(self) -> float:
        """p99 latency of accepted requests at twice the capacity, over that at half the capacity."""
        return self.twice.percentile(99) / self.half.percentile(99)

    @property
    def goodput(self) -> float:
        """Successful responses per second at twice the capacity, over the capacity."""
        return self.twice.rate / self.capacity

    @property
    def refused(self) -> float:
        """p99 latency of refusals in milliseconds."""
        return self.twice.percentile(99, refused=True)

    @property
    def liveness(self) -> float:
        """p99 latency of /livez in milliseconds."""
        return p99(self.live)

    @property
    def is_weathered(self) -> bool:
        """Whether every promise was kept."""
        others = self.twice.statuses.total() - self.twice.statuses[200] - self.twice.statuses[429]
        few = others <= 0.01 * self.twice.statuses.total()  # still in flight at the end
        quick = self.refused < REFUSED_MS and self.liveness < LIVE_MS
        return self.stretch <= STRETCH and self.goodput >= GOODPUT and quick and few

    def __str__(self) -> str:
        return (
            f"p99 {self.stretch:.1f} times ({self.half.percentile(99):.0f} and "
            f"{self.twice.percentile(99):.0f} ms), {self.goodput:.0%} of {self.capacity:.0f}/s, "
            f"refusals {self.refused:.0f} ms, /livez {self.liveness:.0f} ms"
        )


def flood(settings: Settings, log: Path, seconds: float, call: str) -> Flood:
    """Send requests of a kind: closed-loop, at half and at twice this capacity, and closed-loop again.

    The server and the load run on cores of their own, so that a larger load takes no time from the server.
    The capacity is the mean of both measurements, because the speed of a machine varies.
    """
    with ours_apart(settings, log) as url:
        busy, many = (Load(url, requests(url, call), count) for count in (CONNECTIONS.get(call, 4), 256))
        busy.closed(2)
        before = busy.closed(max(3.0, seconds / 3)).rate
        half = many.open(seconds, before / 2)
        with probed(url) as live:
            twice = many.open(seconds, before * 2)
        after = busy.closed(max(3.0, seconds / 3)).rate
        return Flood((before + after) / 2, half, twice, live)


def steady(settings: Settings, log: Path, seconds: float, call: str) -> Flood:
    """Send a flood, and two more if it falls short; return the one that stands for the most of them."""
    floods = [flood(settings, log, seconds, call)]
    if not floods[0].is_weathered:
        floods += [flood(settings, log, seconds, call) for _ in range(2)]
    return sorted(floods, key=lambda each: each.is_weathered)[len(floods) // 2]


def overload(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Overload our server with every kind of request, and one with most limits on waiting work lifted."""
    seconds = 300.0 if long else 30.0
    floods = {call: steady(Settings(artifacts=artifacts), scratch / call, seconds, call) for call in CALLS}
    patient = Settings(artifacts=artifacts, max_queue_seconds=3600, max_uploads=10**6, max_batch_pixels=2**40)
    unbounded = flood(patient, scratch / "unbounded", 10.0, "translate")
    return Finding(
        f"twice the capacity for {seconds:g} s with default settings, for each kind of request; the server "
        "has one half of the cores and the load the other: p99 of accepted requests <= "
        f"{STRETCH:g} times that at half the capacity, at least {GOODPUT:.0%} of the capacity answered, p99 "
        f"of refusals < {REFUSED_MS:g} ms and of /livez < {LIVE_MS:g} ms; a kind that falls short is "
        "measured twice more, and two of the three must keep the promise",
        "; ".join(f"{call}: {found}" for call, found in floods.items()),
        "our server without the limits on queueing time, on uploads and on the pixels that wait, but with "
        f"that on the requests that wait in a process, translate: p99 {unbounded.stretch:.1f} times",
        all(found.is_weathered for found in floods.values()) and unbounded.stretch > STRETCH,
    )
