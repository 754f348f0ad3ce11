"""After SIGTERM: late requests are refused in words, and half requests hold up nothing."""

import http.client
import json
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from serving.middleware.exchange import DISCARD_SECONDS
from serving.settings import Settings
from tests.reliability.finding import Finding
from tests.reliability.servers import changed, naive, ours

DRAIN, SLACK = 0.5, 1.5
"""Seconds from SIGTERM until requests are refused, and seconds for the end of the processes."""

PROMPT = DRAIN + DISCARD_SECONDS + SLACK
"""Maximum seconds from SIGTERM to the end; the rest of a refused request is read for a moment."""

CLIENTS, HALVES, PAUSE = 8, 8, 0.01
"""Number of clients of each kind, and seconds between their requests."""

SAMPLE, BODY = "/v1/models/pictures/sample", b'{"n": 1}'

HALF = (
    f"POST {SAMPLE} HTTP/1.1\r\nHost: zoo\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"
)
"""A request whose body never ends."""

Serve = Callable[[Settings, Path], AbstractContextManager[tuple[str, psutil.Process]]]


@dataclass
class Late:
    """The result of stopping a server that has late clients."""

    answered: int = 0
    told: int = 0
    """Requests that got 503 with the code `leaving`."""

    lost: int = 0
    """Requests on open connections that got no response, or another one."""

    turned_away: int = 0
    """New connections that were refused, or closed before a response."""

    stuck: int = 0
    """New connections on which nothing happened for a long time."""

    halves_told: int = 0
    status: int | None = None
    seconds: float = float("inf")
    """Exit status, and seconds from SIGTERM to the end."""

    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_weathered(self) -> bool:
        """Whether every promise was kept."""
        nothing_lost = (self.lost, self.stuck, self.halves_told) == (0, 0, HALVES)
        return nothing_lost and self.told > 0 and self.status == 0 and self.seconds < PROMPT

    def __str__(self) -> str:
        return (
            f"{self.answered:,} answered, {self.told} told, {self.lost} lost, {self.turned_away} new "
            f"connections turned away and {self.stuck} stuck, {self.halves_told} of {HALVES} half requests "
            f"told; exit status {self.status} after {self.seconds:.1f} s"
        )


class Callers:
    """Clients of a server that ends: on open connections, on new ones, and with half a request."""

    def __init__(self, url: str, found: Late) -> None:
        place = urlsplit(url)
        self.host, self.port = str(place.hostname), int(place.port or 0)
        self.found, self.leaving, self.over = found, threading.Event(), threading.Event()

    def ask_on(self) -> None:
        """Send requests on one connection until the server closes it."""
        with closing(self._connect()) as connection:
            connection.connect()
            self._ask_until_closed(connection)

    def _ask_until_closed(self, connection: http.client.HTTPConnection) -> None:
        while not self.over.wait(PAUSE):
            if select.select([connection.sock], [], [], 0)[0]:
                return  # closed between two requests
            try:
                status, is_last = self._ask(connection)
            except (OSError, http.client.HTTPException):
                self._add("lost")
                return
            self._add({200: "answered", 503: "told"}.get(status, "lost"))
            if is_last:
                return

    def ask_anew(self) -> None:
        """Open a connection for each request, from SIGTERM until the server has ended."""
        self.leaving.wait()
        while not self.over.wait(PAUSE):
            try:
                with closing(self._connect()) as connection:
                    status, _ = self._ask(connection)
                self._add({200: "answered", 503: "told"}.get(status, "lost"))
            except TimeoutError:
                self._add("stuck")
            except (OSError, http.client.HTTPException):
                self._add("turned_away")

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=10)

    def _ask(self, connection: http.client.HTTPConnection) -> tuple[int, bool]:
        """Return a request's status, 0 for a 503 that is not `leaving`, and whether it is the last one."""
        connection.request("POST", SAMPLE, BODY, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body, status = answer.read(), answer.status
        if status == 503 and json.loads(body)["error"]["code"] != "leaving":
            status = 0
        return status, connection.sock is None

    def _add(self, name: str) -> None:
        with self.found.lock:
            setattr(self.found, name, getattr(self.found, name) + 1)

    def half(self) -> socket.socket:
        """Open a connection with half a request."""
        connection = socket.create_connection((self.host, self.port), timeout=5)
        connection.sendall(HALF.encode())
        return connection


def stop(serve: Serve, settings: Settings, log: Path, patience: float) -> Late:
    """Stop a server that has late clients, and kill it if it does not end."""
    found = Late()
    with serve(settings, log) as (url, server), ExitStack() as stack:
        callers = Callers(url, found)
        halves = [stack.enter_context(callers.half()) for _ in range(HALVES)]
        threads = [threading.Thread(target=callers.ask_on) for _ in range(CLIENTS)]
        threads += [threading.Thread(target=callers.ask_anew) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        start = time.monotonic()
        server.terminate()
        callers.leaving.set()
        try:
            found.status = server.wait(patience)
            found.seconds = time.monotonic() - start
        except psutil.TimeoutExpired:
            server.kill()
        callers.over.set()
        for thread in threads:
            thread.join()
        found.halves_told = sum(_is_told(half) for half in halves)
    return found


def _is_told(half: socket.socket) -> bool:
    """Return whether half a request got 503."""
    try:
        return half.recv(2**16).startswith(b"HTTP/1.1 503")
    except OSError:
        return False


def late_comers(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Stop our server several times, and the naive one once."""
    count, settings = 50 if long else 10, Settings(artifacts=artifacts, drain=DRAIN)
    stops = [stop(ours, settings, scratch / f"ours{number}", 30) for number in range(count)]
    control = stop(naive, settings, scratch / "naive", 10)
    worst = max(stops, key=lambda each: (not each.is_weathered, each.seconds))
    return Finding(
        f"SIGTERM with late clients, {count} times, with {changed(settings)}: requests on open connections "
        f"get 200 or 503 `leaving`, new connections are not held, {HALVES} half requests get 503, exit "
        f"status 0 within {PROMPT:g} s",
        f"{sum(each.is_weathered for each in stops)} of {count}; the worst: {worst}",
        f"the naive server, killed after 10 s: {control}",
        all(each.is_weathered for each in stops) and not control.is_weathered,
    )
