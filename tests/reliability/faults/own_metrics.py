"""Two servers of one user at once: each reports its own metrics, also when the other one has ended."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import httpx

from serving.settings import Settings
from serving.shared_metrics import EVERY, FOLDER
from tests.reliability.faults.full_disk import SAMPLE, samples_in
from tests.reliability.finding import Finding
from tests.reliability.servers import ours

ASKED = (30, 20)
"""Numbers of requests that the two servers get."""

LOOKS = 10
"""Number of reports that are read, each on a connection of its own, which any worker may take."""


@dataclass
class Counted:
    """The different numbers of requests in the reports of two servers, and of the first one afterwards."""

    first: set[float] = field(default_factory=set)
    second: set[float] = field(default_factory=set)
    afterwards: set[float] = field(default_factory=set)

    @property
    def is_kept_apart(self) -> bool:
        """Whether each server reported its own requests."""
        return (self.first, self.second, self.afterwards) == ({ASKED[0]}, {ASKED[1]}, {ASKED[0]})

    def __str__(self) -> str:
        said = (", ".join(f"{number:.0f}" for number in sorted(each)) for each in vars(self).values())
        return "{} and {}, and {} afterwards".format(*said)


def run_two(settings: Settings, scratch: Path) -> Counted:
    """Run two servers, send requests to both, and stop the second one."""
    found = Counted()
    with ours(settings, scratch / "first") as (first, _):
        with ours(settings, scratch / "second") as (second, _):
            for url, count in zip((first, second), ASKED, strict=True):
                for seed in range(count):
                    httpx.post(f"{url}{SAMPLE}", json={"seed": seed}).raise_for_status()
            time.sleep(1.5 * EVERY)
            found.first, found.second = _reports(first), _reports(second)
        time.sleep(1.5 * EVERY)
        found.afterwards = _reports(first)
    return found


def _reports(url: str) -> set[float]:
    return {samples_in(httpx.get(f"{url}/metrics").text) for _ in range(LOOKS)}


def run_two_with_one_folder(settings: Settings, scratch: Path) -> Counted:
    """Run two servers that share a folder of metrics, as the control."""
    (scratch / "metrics").mkdir()
    with patch.dict(os.environ, {FOLDER: str(scratch / "metrics")}):
        return run_two(settings, scratch)


def own_metrics(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Run two servers with two workers each, and two servers that share a folder."""
    for name in ("apart", "together"):
        (scratch / name).mkdir()
    found = run_two(Settings(artifacts=artifacts, workers=2), scratch / "apart")
    control = run_two_with_one_folder(Settings(artifacts=artifacts), scratch / "together")
    return Finding(
        f"two servers of one user at once, with two workers each, get {ASKED[0]} and {ASKED[1]} requests: "
        "every worker reports the numbers of its server, also after the other server has ended",
        str(found),
        f"two servers that share a folder of metrics: {control}",
        found.is_kept_apart and not control.is_kept_apart,
    )
