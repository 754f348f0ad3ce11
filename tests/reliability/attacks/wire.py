"""Requests and responses as bytes on a socket, for what HTTP clients refuse to send."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

PATIENCE = 5.0
"""Seconds without a byte after which a server hangs."""


class Reply(NamedTuple):
    """A response; the status is 0 if the connection was closed without one, and -1 if the server hung."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def is_problem(self) -> bool:
        """Whether the body is the JSON that all errors share, with the request id of the headers."""
        try:
            said = json.loads(self.body)
            error = said["error"]
            text = error if isinstance(error, str) else error["message"]
            code = said["code"] if isinstance(error, str) else error["code"]
        except (ValueError, KeyError, TypeError):
            return False
        known = "request_id" in said and said["request_id"] == self.headers.get("x-request-id")
        return bool(text and code) and known and self.headers["content-type"] == "application/json"


@contextlib.contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    """Connect to a server while the block runs."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname or "", place.port or 80), timeout=PATIENCE) as connection:
        yield connection


def exchange(url: str, request: bytes) -> Reply:
    """Send a request and return the response to it."""
    start = time.perf_counter()
    with connected(url) as connection:
        with contextlib.suppress(OSError):  # a server may close before it has read everything
            connection.sendall(request)
        return receive(connection, start, request.startswith(b"HEAD "))


def receive(connection: socket.socket, start: float, is_bare: bool = False) -> Reply:
    """Receive one response, without those that only announce it (1xx); a bare one has no body."""
    data, status = b"", 0
    try:
        while True:
            head, end, body = data.partition(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            status = int(lines[0].split(" ")[1]) if end else 0
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
            }
            if 100 <= status < 200 and status != 101:
                data = body
                continue
            bare = is_bare or status in (101, 204, 304)
            length = 0 if bare else int(headers.get("content-length", 1 << 40))
            if end and len(body) >= length:
                return Reply(status, headers, body[:length], time.perf_counter() - start)
            if not (part := connection.recv(2**16)):
                return Reply(status, headers if end else {}, body, time.perf_counter() - start)
            data += part
    except TimeoutError:
        return Reply(-1, {}, data, time.perf_counter() - start)
    except OSError:
        return Reply(0, {}, data, time.perf_counter() - start)
