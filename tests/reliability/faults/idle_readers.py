"""Clients that take nothing of their responses: they do not hold up the end of the server."""

import json
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from serving.middleware.protocol import TAKE_SECONDS
from serving.settings import Settings
from tests.bench.load import request_bytes
from tests.reliability.finding import Finding
from tests.reliability.servers import changed, naive, ours

CLIENTS, IMAGES, SLACK = 4, 2048, 5.0
"""Number of clients, images of a response, and seconds for the end beyond those of a client's response."""

Serve = Callable[[Settings, Path], AbstractContextManager[tuple[str, psutil.Process]]]


@dataclass(frozen=True)
class Stopped:
    """The end of a server whose clients take nothing."""

    status: int | None
    """Exit status; None if the server had to be killed."""

    seconds: float
    """Seconds from SIGTERM to the end."""

    @property
    def is_weathered(self) -> bool:
        """Whether the server ended by itself, and in time."""
        return self.status == 0 and self.seconds < TAKE_SECONDS + SLACK


def settings_of(artifacts: Path, images: int = IMAGES) -> Settings:
    """Return settings with which a server accepts requests for so many images."""
    return Settings(artifacts=artifacts, max_images=images, max_queue=10**6, max_queue_seconds=60)


def stop(serve: Serve, artifacts: Path, log: Path, patience: float, images: int = IMAGES) -> Stopped:
    """Stop a server whose clients take nothing, and kill it if it does not end.

    Args:
        serve: starts the server.
        artifacts: the artifacts.
        log: the server's log.
        patience: seconds after which the server is killed.
        images: images of a response, which must be more than the system holds for a client.
    """
    with serve(settings_of(artifacts, images), log) as (url, server), ExitStack() as stack:
        clients = [stack.enter_context(_idle_reader(url, images)) for _ in range(CLIENTS)]
        for client in clients:
            client.recv(1, socket.MSG_PEEK)  # the response has begun
        start = time.monotonic()
        server.terminate()
        try:
            status: int | None = server.wait(patience)
        except psutil.TimeoutExpired:
            status = None
            server.kill()
        return Stopped(status, time.monotonic() - start)


def _idle_reader(url: str, images: int) -> socket.socket:
    """Send a request, with little room for its response."""
    place = urlsplit(url)
    body = json.dumps({"n": images, "format": "npy"}).encode()
    headers = {"Content-Type": "application/json"}
    asked = request_bytes("POST", f"{url}/v1/models/pictures/sample", body, headers)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((place.hostname, place.port))
    connection.sendall(asked)
    return connection


def idle_readers(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Stop our server, and the naive one."""
    patience = 120.0 if long else 40.0
    found = stop(ours, artifacts, scratch / "ours", patience)
    control = stop(naive, artifacts, scratch / "naive", patience)
    ended = "ended" if control.is_weathered else "had to be killed"
    return Finding(
        f"SIGTERM while {CLIENTS} clients take nothing of their responses, with "
        f"{changed(settings_of(artifacts))}: exit status 0 within {TAKE_SECONDS + SLACK:g} s",
        f"exit status {found.status} after {found.seconds:.0f} s",
        f"the naive server {ended} after {control.seconds:.0f} s",
        found.is_weathered and not control.is_weathered,
    )
