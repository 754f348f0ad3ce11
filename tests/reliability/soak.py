"""A hundred thousand requests: memory, file descriptors and threads stay as they are."""

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
from tests.reliability.servers import Tree, naive, ours, tree

JSON = {"Content-Type": "application/json"}


class Held(NamedTuple):
    """What processes hold."""

    bytes: int
    files: int
    threads: int

    @staticmethod
    def of(processes: Tree) -> "Held":
        """Look at processes."""
        return Held(
            sum(each.memory_info().rss for each in processes),
            sum(each.num_fds() for each in processes),
            sum(each.num_threads() for each in processes),
        )


def mixture(url: str) -> list[bytes]:
    """Make requests of all kinds, good ones and bad ones."""
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
    """Make requests that even the naive server answers."""
    return [request_bytes("POST", f"{url}/v1/models/pictures/sample", b'{"n": 8}', JSON)]


def growth(
    serve: Callable[[Settings, Path], AbstractContextManager[tuple[str, psutil.Process]]],
    requests: Callable[[str], list[bytes]],
    settings: Settings,
    log: Path,
    count: int,
) -> tuple[float, Held, Held]:
    """Ask a server so often: what its memory grew by in the second half; what it held before and after."""
    with serve(settings, log) as (url, process):
        load = Load(url, requests(url), 32)
        held = []
        for _ in range(2):
            done = 0
            while done < count / 2:
                done += sum(load.closed(2).statuses.values())
            time.sleep(1)  # connections that are gone are let go
            held.append(Held.of(tree(process)))
        first, second = held
        return second.bytes / first.bytes - 1, first, second


def soak(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Ask our server and the naive one, which keeps what it has answered."""
    count, settings = 100_000 if not long else 1_000_000, Settings(artifacts=artifacts, access_log=False)
    more, first, second = growth(ours, mixture, settings, scratch / "ours", count)
    leak, _, _ = growth(naive, plain, settings, scratch / "naive", count // 10)
    return Finding(
        f"{count:,} requests: memory in the second half < 2%, no file and no thread more",
        f"{100 * more:.1f}%; {first.files} and {second.files} files, {first.threads} and {second.threads} "
        "threads",
        f"a server that keeps what it answers: {100 * leak:.1f}% over {count // 20:,}",
        more < 0.02 and second.files <= first.files and second.threads <= first.threads and leak > 0.02,
    )
