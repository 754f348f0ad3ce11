"""Thousands of random paths: no new metric series, and no forged log line."""

import json
import random
import string
from collections import Counter
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import httpx

from serving.settings import Settings
from tests.reliability.finding import Finding
from tests.reliability.servers import ours

FORGED = '\n{"forged": true}'
"""A path that would add a log line if the log wrote paths unescaped."""


class Wandered(NamedTuple):
    """What the requests added to the metrics and the log."""

    series: int
    lines: int
    unmatched: int
    """Lines that are missing, or too many, for the paths that were requested."""

    forged: int
    forgeries: int
    """Lines that would be forged if the log wrote paths unescaped."""


def wander(settings: Settings, log: Path, count: int) -> Wandered:
    """Request `count` random paths."""
    chance, asked = random.Random(0), Counter[str]()
    with ours(settings, log) as (url, _), httpx.Client(base_url=url) as client:
        for path in ("/", "/x", "/v1/models/x"):
            asked[client.get(path).request.url.path] += 1
        client.get("/metrics")
        before = client.get("/metrics").text
        for number in range(count):
            name = "".join(chance.choices(string.ascii_letters + "/.-_~", k=chance.randint(1, 40)))
            place = ("v1/models/" if number % 2 else "") + name + (FORGED if number % 3 == 0 else "")
            asked[client.get(f"{url}/{quote(place)}").request.url.path] += 1
        after = client.get("/metrics").text
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    forged = sum("forged" in line for line in lines)
    forgeries = sum('\n{"forged"' in line.get("path", "") for line in lines)
    logged = Counter(line["path"] for line in lines if line.get("path") in asked)
    unmatched = ((logged - asked) + (asked - logged)).total()
    return Wandered(_series(after) - _series(before), logged.total(), unmatched, forged, forgeries)


def _series(report: str) -> int:
    return sum(not line.startswith("#") for line in report.splitlines())


def paths(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Request random paths from our server; the control is computed from its log."""
    count = 5000
    found = wander(Settings(artifacts=artifacts), scratch / "log", count)
    return Finding(
        f"{count:,} random paths: no new metric series, exactly one log line per request, no forged line",
        f"{found.series} series, {found.lines:,} lines, {found.unmatched} missing or too many, "
        f"{found.forged} forged",
        f"a log that writes paths unescaped: {found.forgeries:,} forged",
        (found.series, found.unmatched, found.forged) == (0, 0, 0) and found.forgeries > 0,
    )
