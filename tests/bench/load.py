"""A load generator for HTTP servers: keep-alive connections, closed-loop or open-loop, with latencies.

It is one process with one event loop and the C parser httptools. Its CPU time is small compared with that of
a server, and the same for every server.
"""

import asyncio
import itertools
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httptools
import numpy as np
import uvloop

CALM = 2.0
"""Seconds to wait for requests in flight at the end; requests without a response then count as lost."""

CLOSED = -1
"""Status of a connection that was closed between two requests."""


def request_bytes(method: str, url: str, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
    """Return an HTTP/1.1 request as bytes."""
    place = urlsplit(url)
    path = place.path + (f"?{place.query}" if place.query else "")
    lines = {"Host": place.netloc, "Content-Length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


@dataclass
class Outcome:
    """The result of a load."""

    seconds: float
    latencies: list[float] = field(default_factory=list)
    """Latencies in seconds of responses with status 200."""

    refusals: list[float] = field(default_factory=list)
    """Latencies in seconds of responses with status 429."""

    statuses: Counter[int] = field(default_factory=Counter)
    """Number of responses per status; 0 counts lost requests."""

    bodies: dict[int, set[bytes]] = field(default_factory=dict)
    """Distinct response bodies per request, if they are kept."""

    @property
    def rate(self) -> float:
        """Successful responses per second."""
        return len(self.latencies) / self.seconds

    def percentile(self, percent: float, refused: bool = False) -> float:
        """Return a latency percentile in milliseconds, of status 200 or, with `refused`, of status 429."""
        seconds = self.refusals if refused else self.latencies
        return 1e3 * float(np.percentile(seconds, percent)) if seconds else float("nan")


class Connection(asyncio.Protocol):
    """A keep-alive connection with one request at a time; it calls `done` for each complete response."""

    def __init__(self, done: Callable[["Connection", int, bytes], None]) -> None:
        self._done, self._body = done, bytearray()
        self._parser = httptools.HttpResponseParser(self)
        self.asked, self.since, self.waits = 0, 0.0, False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Parse received bytes."""
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        """Collect the response body."""
        self._body += data

    def on_message_complete(self) -> None:
        """Report a complete response."""
        body, self._body, self.waits = bytes(self._body), bytearray(), False
        self._done(self, self._parser.get_status_code(), body)
        self._parser = httptools.HttpResponseParser(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Report that the connection is closed."""
        self.transport, waited, self.waits = None, self.waits, False
        self._done(self, 0 if waited else CLOSED, b"")

    def ask(self, number: int, request: bytes, since: float) -> None:
        """Send a request."""
        self.asked, self.since, self.waits = number, since, True
        if self.transport is not None:
            self.transport.write(request)


class Load:
    """A load of one server.

    Args:
        url: the address of the server.
        requests: the requests as bytes, sent in a cycle.
        connections: the number of open connections.
        keep: whether to keep the distinct response bodies of each request.
    """

    def __init__(self, url: str, requests: Sequence[bytes], connections: int, keep: bool = False) -> None:
        self.url, self.requests, self.connections, self.keep = url, requests, connections, keep

    def closed(self, seconds: float) -> Outcome:
        """Send the next request on a connection as soon as the last one is answered."""
        return uvloop.run(self._run(seconds, None))

    def open(self, seconds: float, rate: float) -> Outcome:
        """Send requests as a Poisson process of a given rate; a request waits if no connection is idle.

        Latency counts from the moment when the request was due.
        """
        return uvloop.run(self._run(seconds, rate))

    async def _run(self, seconds: float, rate: float | None) -> Outcome:
        self._outcome, self._end = Outcome(seconds), 0.0
        self._numbers = itertools.cycle(range(len(self.requests)))
        self._idle: deque[Connection] = deque()
        self._due: deque[float] = deque()
        self._endless = rate is None
        self._tasks, self._all = set[asyncio.Task[None]](), set[Connection]()
        self._open = True
        await asyncio.gather(*(self._connect() for _ in range(self.connections)))
        self._end = time.perf_counter() + seconds
        if rate is None:
            while self._idle:
                self._ask(self._idle.popleft(), time.perf_counter())
            await asyncio.sleep(seconds)
        else:
            await self._arrive(rate)
        self._endless = False
        self._outcome.statuses[0] += len(self._due)
        self._due.clear()
        self._open = False
        for _ in range(100):
            if not any(connection.waits for connection in self._all):
                break
            await asyncio.sleep(CALM / 100)
        self._outcome.statuses[0] += sum(connection.waits for connection in self._all)
        for connection in self._all:
            if connection.transport is not None:
                connection.transport.close()
        await asyncio.sleep(0.05)
        return self._outcome

    async def _arrive(self, rate: float) -> None:
        """Generate the due times of a Poisson process and send what is due."""
        chance, due = random.Random(0), time.perf_counter()
        while (now := time.perf_counter()) < self._end:
            while due <= now:
                self._due.append(due)
                due += chance.expovariate(rate)
            while self._due and self._idle:
                connection = self._idle.pop()  # the one used last, which the server keeps open
                if connection.transport is not None:
                    self._ask(connection, self._due.popleft())
            await asyncio.sleep(min(due - now, 0.001))

    async def _connect(self) -> None:
        """Open a connection and start to use it."""
        place = urlsplit(self.url)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: Connection(self._done), place.hostname, place.port
        )
        self._all.add(connection)
        self._go_on(connection)

    def _go_on(self, connection: Connection) -> None:
        """Send the next request on a connection, or mark it as idle."""
        if self._due:
            self._ask(connection, self._due.popleft())
        elif self._endless and self._end:
            self._ask(connection, time.perf_counter())
        else:
            self._idle.append(connection)

    def _ask(self, connection: Connection, since: float) -> None:
        number = next(self._numbers)
        connection.ask(number, self.requests[number], since)

    def _done(self, connection: Connection, status: int, body: bytes) -> None:
        now = time.perf_counter()
        if now > self._end:
            return
        if status != CLOSED:
            self._outcome.statuses[status] += 1
        if status == 429:
            self._outcome.refusals.append(now - connection.since)
        if status == 200:
            self._outcome.latencies.append(now - connection.since)
            if self.keep:
                self._outcome.bodies.setdefault(connection.asked, set()).add(body)
        if connection.transport is not None:
            self._go_on(connection)
        elif self._open:
            task = asyncio.get_running_loop().create_task(self._connect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
