"""Artifacts replaced while they are served: no error, and every response comes from one version."""

import re
import shutil
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import httpx

from serving.settings import Settings
from tests.reliability.finding import Finding
from tests.reliability.servers import ours

SEEDS = range(4)
EVERY = 0.25
"""Seconds between two replacements."""


LOADED = re.compile(r'^ganzoo_reloads_total{outcome="loaded"} (\S+)', re.MULTILINE)


class Swapped(NamedTuple):
    """The responses while artifacts were replaced."""

    answers: int
    loads: int
    errors: int
    mixtures: int
    """Different responses for the same seed and version, beyond the first."""

    confusions: int
    """Different responses for the same seed, beyond the first, with the version ignored."""


class Asking:
    """A client that sends requests in a thread and counts the distinct responses."""

    def __init__(self, url: str) -> None:
        self.seen: Counter[tuple[str, str, bytes]] = Counter()
        self.errors, self._url, self._over = 0, url, threading.Event()
        self._thread = threading.Thread(target=self._ask_on)

    def __enter__(self) -> "Asking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask_on(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self._over.is_set():
                for seed in SEEDS:
                    body = {"seed": seed, "n": 2, "format": "npy"}
                    try:
                        answer = client.post("/v1/models/served/sample", json=body)
                    except httpx.TransportError:
                        self.errors += 1
                        continue
                    version = answer.headers.get("x-model-version", "")
                    self.errors += answer.status_code != 200
                    self.seen[str(seed), version, answer.content] += 1


def exchange(fresh: Path, served: Path) -> None:
    """Replace the served artifact by a copy of another one, as an export does."""
    partial, old = served.with_suffix(".partial"), served.with_suffix(".old")
    shutil.copytree(fresh, partial)
    if served.exists():
        served.rename(old)
    partial.rename(served)
    shutil.rmtree(old, ignore_errors=True)


def swap(artifacts: Path, scratch: Path, count: int) -> Swapped:
    """Alternate two versions of a model `count` times under load."""
    folder = scratch / "models"
    folder.mkdir(parents=True)
    exchange(artifacts / "pictures", folder / "served")
    settings = Settings(artifacts=folder, reload=EVERY / 2, access_log=False)
    with ours(settings, scratch / "log") as (url, _), Asking(url) as asking:
        for number in range(count):
            exchange(artifacts / ("classes" if number % 2 == 0 else "pictures"), folder / "served")
            time.sleep(EVERY)
        refused = httpx.get(f"{url}/readyz").json()["refused"]
        loads = LOADED.search(httpx.get(f"{url}/metrics").text)
    of_version = Counter((seed, version) for seed, version, _ in asking.seen)
    of_seed = Counter(seed for seed, _, _ in asking.seen)
    return Swapped(
        sum(asking.seen.values()),
        int(float(loads[1])) if loads else 0,
        asking.errors + len(refused),
        sum(number - 1 for number in of_version.values()),
        sum(number - 1 for number in of_seed.values()),
    )


def swaps(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Replace artifacts under load."""
    count = 1000 if long else 200
    found = swap(artifacts, scratch, count)
    return Finding(
        f"{count:,} artifacts replaced under load: no error, every response comes from one version",
        f"{found.errors} errors in {found.answers:,} responses, {found.mixtures} differ for the same seed "
        f"and version; {found.loads:,} versions loaded",
        f"the same responses, compared for the same seed in any version: {found.confusions} differ",
        found.errors == found.mixtures == 0 and found.confusions > 0 and found.loads > 0.9 * count,
    )
