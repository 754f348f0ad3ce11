"""Twice what a server can do, asked of it for a while: what it accepts keeps its latency."""

from pathlib import Path
from typing import NamedTuple

from serving.settings import Settings
from tests.bench.load import Load, Outcome
from tests.bench.serving import upload
from tests.reliability.finding import Finding
from tests.reliability.servers import ours

WAIT = 0.05
"""Seconds that a request may wait in the trial."""


class Flood(NamedTuple):
    """Loads of one server."""

    capacity: float
    """Good answers a second that it gives at most."""

    half: Outcome
    twice: Outcome

    @property
    def stretch(self) -> float:
        """How many times as long the slowest of the accepted take as at half the load."""
        return self.twice.percentile(99) / self.half.percentile(99)

    @property
    def goodput(self) -> float:
        """What is left of the capacity."""
        return self.twice.rate / self.capacity

    @property
    def is_weathered(self) -> bool:
        """Tell whether the accepted kept their latency, and the refused were told at once."""
        refused = self.twice.statuses[429] > 0 and self.twice.percentile(99, refused=True) < 100
        others = self.twice.statuses.total() - self.twice.statuses[200] - self.twice.statuses[429]
        few = others <= 0.01 * self.twice.statuses.total()  # which were under way at the end
        return self.stretch <= 3 and self.goodput >= 0.8 and refused and few


def flood(settings: Settings, log: Path, seconds: float) -> Flood:
    """Ask a server for translations: as fast as it answers, at half that rate, and at twice."""
    with ours(settings, log) as (url, _):
        requests = [upload(f"{url}/v1/models/styles/translate", seed) for seed in range(8)]
        busy, many = Load(url, requests, 6), Load(url, requests, 256)
        busy.closed(1)
        capacity = busy.closed(max(3.0, seconds / 4)).rate
        return Flood(capacity, many.open(seconds, capacity / 2), many.open(seconds, capacity * 2))


def overload(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Flood our server, and the same without a bound on what waits."""
    seconds = 600.0 if long else 60.0
    bounded = flood(Settings(artifacts=artifacts, max_queue_seconds=WAIT), scratch / "bounded", seconds)
    patient = Settings(artifacts=artifacts, max_queue_seconds=3600, max_uploads=10**6, max_batch_pixels=2**40)
    unbounded = flood(patient, scratch / "unbounded", 10.0)
    return Finding(
        f"twice the capacity for {seconds:g} s: accepted p99 <= 3 times that at half, goodput >= 80%, "
        "refusals' p99 < 100 ms",
        f"{bounded.stretch:.1f} times ({bounded.half.percentile(99):.0f} and "
        f"{bounded.twice.percentile(99):.0f} ms), {100 * bounded.goodput:.0f}%, "
        f"{bounded.twice.percentile(99, refused=True):.0f} ms",
        f"without a bound on what waits: {unbounded.stretch:.1f} times",
        bounded.is_weathered and unbounded.stretch > 3,
    )
