"""Uploads that never end: they close translation to nobody, and cost little memory."""

import contextlib
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import psutil

from serving.imaging.codec import encode_png
from serving.settings import Settings
from tests.reliability.attacks.wire import connected, receive
from tests.reliability.finding import Finding
from tests.reliability.probes import repeated
from tests.reliability.servers import naive, ours, tree

PATH = "/v1/models/styles/translate"
SILENT, BODIES, HONEST = 64, 400, 20
"""Uploads of which only the headers arrive, unfinished bodies, and honest translations meanwhile."""

PART = 2 * 2**20
"""Bytes of each unfinished body; all of them are more than three times what the server accepts at once."""

HEADS, HEAD = 10, 10 * 2**20
"""Connections that send endless headers, and bytes of each."""

MARGIN = 128 * 2**20
"""Maximum growth of the server's memory in bytes beyond the limit on bodies: buffers of the connections."""

PAUSE = 0.02
"""Seconds between two looks at the server's memory."""


class Uploaded(NamedTuple):
    """The result of a run."""

    honest: Counter[int]
    """Translations by their statuses, while the headers of others had arrived."""

    heads: Counter[int]
    """Endless headers by their statuses; -1 counts those without a response."""

    refused: int
    """Unfinished bodies that got 429."""

    growth: int
    """Growth of the server's memory in bytes."""

    def __str__(self) -> str:
        good, sent = self.honest[200], self.honest.total()
        heads = f"{self.heads[431]} of {self.heads.total()} endless headers got 431"
        memory = f"{self.growth / 2**20:.0f} MiB more memory"
        return f"{good} of {sent} translations answered; {heads}; {self.refused} bodies got 429; {memory}"

    def is_bounded(self, limit: int) -> bool:
        """Whether bodies were refused, and the memory stayed near the limit on all bodies in bytes."""
        return self.refused > 0 and self.growth <= limit + MARGIN

    @property
    def is_open(self) -> bool:
        """Whether every honest translation was answered."""
        return self.honest.keys() == {200}

    @property
    def is_told(self) -> bool:
        """Whether all endless headers got 431."""
        return self.heads.keys() == {431}


def upload(url: str, server: psutil.Process, bodies: int = BODIES, heads: int = HEADS) -> Uploaded:
    """Send unfinished uploads, and measure the translations of others and the server's memory."""
    translate(url)
    with contextlib.ExitStack() as stack:
        for _ in range(SILENT):
            _begin(stack.enter_context(connected(url)), PART)
        honest = Counter(translate(url) for _ in range(HONEST))
    with _watched(server) as memory:
        told = Counter(_send_head(url) for _ in range(heads))
        refused = _send_bodies(url, bodies)
    return Uploaded(honest, told, refused, max(memory) - memory[0])


@contextlib.contextmanager
def _watched(server: psutil.Process) -> Iterator[list[int]]:
    """Measure a server's memory in bytes while the block runs."""
    memory = [_memory(server)]
    with repeated(lambda: memory.append(_memory(server)), PAUSE):
        yield memory


def _send_bodies(url: str, count: int) -> int:
    """Send unfinished bodies, all open at once; return how many of them got 429."""
    part, connections = bytes(PART), list[socket.socket]()
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            connections.append(stack.enter_context(connected(url)))
            _begin(connections[-1], PART + 1)
            with contextlib.suppress(OSError):  # it is refused, or not read any more
                connections[-1].settimeout(0.5)
                connections[-1].sendall(part)
        time.sleep(1)
        return sum(_is_refused(each) for each in connections)


def _is_refused(connection: socket.socket) -> bool:
    """Return whether a connection got 429; one whose body is still awaited has got nothing."""
    try:
        return connection.recv(2**10, socket.MSG_DONTWAIT).startswith(b"HTTP/1.1 429")
    except OSError:
        return False


def translate(url: str) -> int:
    """Translate a small image, and return the status; 0 if there is none in time."""
    image, headers = encode_png(np.zeros((32, 32, 3), np.uint8)), {"content-type": "image/png"}
    try:
        return httpx.post(url + PATH, content=image, headers=headers, timeout=2).status_code
    except httpx.TransportError:
        return 0


def _begin(connection: socket.socket, length: int) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {length}\r\n\r\n"
    connection.sendall(head.encode())


def _send_head(url: str) -> int:
    """Send headers until the server answers, and return the status."""
    line = b"X-Padding: " + b"a" * 8000 + b"\r\n"
    with connected(url) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
            for _ in range(HEAD // len(line)):
                connection.sendall(line)
        return receive(connection, time.perf_counter()).status


def _memory(server: psutil.Process) -> int:
    total = 0
    for process in tree(server):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total


def slow_uploads(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Send unfinished uploads to our server and to the naive one."""
    settings, count = Settings(artifacts=artifacts), BODIES * 5 if long else BODIES
    with ours(settings, scratch / "ours") as (url, server):
        found = upload(url, server, count)
    with naive(settings, scratch / "naive") as (url, server):
        control = upload(url, server)
    limit = settings.max_bodies
    kept = found.is_open and found.is_told and found.is_bounded(limit)
    return Finding(
        f"{SILENT} uploads that send headers only: translations of others are answered. "
        f"{HEADS * HEAD >> 20} MiB of headers on {HEADS} connections get 431. {count:,} unfinished bodies of "
        f"{PART >> 20} MiB, {count * PART >> 20:,} MiB in all: some get 429, and the server's memory grows "
        f"by at most {limit + MARGIN >> 20} MiB, its limit of {limit >> 20} MiB on bodies and "
        f"{MARGIN >> 20} MiB for the rest",
        str(found),
        f"a server without limits on headers and bodies, which gets {BODIES} of them: {control}",
        kept and not control.is_told and not control.is_bounded(limit),
    )
