"""A hundred thousand answered requests: memory, file descriptors and threads stay constant."""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import psutil

from serving.settings import Settings
from tests.bench.load import Load, request_bytes
from tests.reliability.finding import Finding
from tests.reliability.servers import Tree, changed, naive, ours, tree

JSON = {"Content-Type": "application/json"}


class Held(NamedTuple):
    """Resources of a process tree."""

    bytes: int
    files: int
    threads: int

    @staticmethod
    def of(processes: Tree) -> "Held":
        """Measure the resources of processes."""
        return Held(
            sum(each.memory_info().rss for each in processes),
            sum(each.num_fds() for each in processes),
            sum(each.num_threads() for each in processes),
        )


def mixture(url: str) -> list[bytes]:
    """Make a mixture of valid and invalid requests."""
    bodies: list[dict[str, object]] = [
        {"seed": 1, "n": 4, "format": "npy"},
        {"seed": 2, "format": "npy"},
        {"seed": 3, "n": 2, "format": "png"},
        {"n": -1},
        {"format": "gif"},
    ]
    sample = f"{url}/v1/models/pictures/sample"
    made = [request_bytes("POST", sample, json.dumps(body).encode(), JSON) for body in bodies]
    made += [request_bytes("GET", f"{url}/v1/models/{name}") for name in ("pictures", "nothing")]
    return made


def plain(url: str) -> list[bytes]:
    """Make requests that the naive server can answer, too."""
    return [request_bytes("POST", f"{url}/v1/models/pictures/sample", b'{"n": 8}', JSON)]


def growth(
    serve: Callable[[Settings, Path], AbstractContextManager[tuple[str, psutil.Process]]],
    requests: Callable[[str], list[bytes]],
    settings: Settings,
    log: Path,
    count: int,
) -> tuple[float, Held, Held]:
    """Send requests until `count` have status 200; return the memory growth in the second half, and what was
    held around it."""
    with serve(settings, log) as (url, process):
        load = Load(url, requests(url), 32)
        held = []
        for _ in range(2):
            done = 0
            while done < count / 2:
                done += load.closed(2).statuses[200]
            time.sleep(1)  # closed connections are released
            held.append(Held.of(tree(process)))
        first, second = held
        return second.bytes / first.bytes - 1, first, second


def soak(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Load our server and the naive one, which keeps all its responses."""
    count, settings = 100_000 if not long else 1_000_000, Settings(artifacts=artifacts, access_log=False)
    more, first, second = growth(ours, mixture, settings, scratch / "ours", count)
    leak, _, _ = growth(naive, plain, settings, scratch / "naive", count // 10)
    return Finding(
        f"{count:,} requests with status 200, and refused ones among them, with {changed(settings)}: memory "
        "grows by less than 2% in the second half, with no more open files or threads",
        f"{100 * more:.1f}%; {first.files} files before and {second.files} after, "
        f"{first.threads} threads before and {second.threads} after",
        f"a server that keeps all its responses: {100 * leak:.1f}% over {count // 20:,} requests",
        more < 0.02 and second.files <= first.files and second.threads <= first.threads and leak > 0.02,
    )
