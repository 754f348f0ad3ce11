"""A stopwatch for the stages of a request."""

import time
from typing import NamedTuple

STOPWATCH = "ganzoo.stopwatch"
"""Key in a scope of a request's stopwatch."""


class Lap(NamedTuple):
    """A stage that is over, with its start and end by `time.perf_counter`."""

    name: str
    start: float
    end: float
    rows: int = 0
    """Rows of the batch that the request shared; 0 for other stages."""


class Stopwatch:
    """The stages of a request: one after the other, and what happened within them."""

    def __init__(self) -> None:
        self.laps: list[Lap] = []
        self.details: list[Lap] = []
        self.since = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a stage; the next one begins."""
        now = time.perf_counter()
        self.laps.append(Lap(name, self.since, now))
        self.since = now

    def header(self) -> str:
        """Return the value of the header `Server-Timing`: the stages in milliseconds."""
        return ", ".join(f"{lap.name};dur={1e3 * (lap.end - lap.start):.2f}" for lap in self.laps)
