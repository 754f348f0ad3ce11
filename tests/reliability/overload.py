"""Twice the capacity of a server as load: accepted requests keep their latency."""

from pathlib import Path
from typing import NamedTuple

from serving.settings import Settings
from tests.bench.load import Load, Outcome
from tests.bench.serving import upload
from tests.reliability.finding import Finding
from tests.reliability.servers import ours

WAIT = 0.05
"""Maximum queueing time in the trial, in seconds."""


class Flood(NamedTuple):
    """The results of one server at several loads."""

    capacity: float
    """Maximum successful responses per second."""

    half: Outcome
    twice: Outcome

    @property
    def stretch(self) -> float:
        """p99 latency of accepted requests at twice the capacity, over that at half the capacity."""
        return self.twice.percentile(99) / self.half.percentile(99)

    @property
    def goodput(self) -> float:
        """Successful responses per second at twice the capacity, over the capacity."""
        return self.twice.rate / self.capacity

    @property
    def is_weathered(self) -> bool:
        """Whether accepted requests kept their latency and rejected ones got a fast 429."""
        refused = self.twice.statuses[429] > 0 and self.twice.percentile(99, refused=True) < 100
        others = self.twice.statuses.total() - self.twice.statuses[200] - self.twice.statuses[429]
        few = others <= 0.01 * self.twice.statuses.total()  # still in flight at the end
        return self.stretch <= 3 and self.goodput >= 0.8 and refused and few


def flood(settings: Settings, log: Path, seconds: float) -> Flood:
    """Request translations: closed-loop, then at half and at twice the measured capacity."""
    with ours(settings, log) as (url, _):
        requests = [upload(f"{url}/v1/models/styles/translate", seed) for seed in range(8)]
        busy, many = Load(url, requests, 6), Load(url, requests, 256)
        busy.closed(1)
        capacity = busy.closed(max(3.0, seconds / 4)).rate
        return Flood(capacity, many.open(seconds, capacity / 2), many.open(seconds, capacity * 2))


def overload(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Overload our server, and the same server without a limit on waiting requests."""
    seconds = 600.0 if long else 60.0
    bounded = flood(Settings(artifacts=artifacts, max_queue_seconds=WAIT), scratch / "bounded", seconds)
    patient = Settings(artifacts=artifacts, max_queue_seconds=3600, max_uploads=10**6, max_batch_pixels=2**40)
    unbounded = flood(patient, scratch / "unbounded", 10.0)
    return Finding(
        f"twice the capacity for {seconds:g} s: p99 of accepted requests <= 3 times that at half the "
        "capacity, at least 80% of the capacity answered, p99 of rejected requests < 100 ms",
        f"p99 {bounded.stretch:.1f} times ({bounded.half.percentile(99):.0f} and "
        f"{bounded.twice.percentile(99):.0f} ms); {100 * bounded.goodput:.0f}% of the capacity answered; "
        f"rejected in {bounded.twice.percentile(99, refused=True):.0f} ms",
        f"without a limit on waiting requests: {unbounded.stretch:.1f} times",
        bounded.is_weathered and unbounded.stretch > 3,
    )
