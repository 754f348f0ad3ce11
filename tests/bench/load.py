"""A client that loads an HTTP server over kept connections, closed-loop or open-loop, and times each answer.

One process, one event loop, answers parsed by the parser that servers use: it takes a small part of what a
server takes, and the same of every server.
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
"""Seconds for what is still under way at the end; what has no answer then is lost."""

CLOSED = -1
"""A connection that was closed between two requests."""


def request_bytes(method: str, url: str, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
    """Write one HTTP/1.1 request."""
    place = urlsplit(url)
    path = place.path + (f"?{place.query}" if place.query else "")
    lines = {"Host": place.netloc, "Content-Length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


@dataclass
class Outcome:
    """What came of a load."""

    seconds: float
    latencies: list[float] = field(default_factory=list)
    """Seconds, of the answers that were 200."""

    refusals: list[float] = field(default_factory=list)
    """Seconds, of the answers that were 429."""

    statuses: Counter[int] = field(default_factory=Counter)
    """How often each was answered; 0 is a lost connection."""

    bodies: dict[int, set[bytes]] = field(default_factory=dict)
    """Different answers to each of the requests, where they are kept."""

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, percent: float, refused: bool = False) -> float:
        """Give a percentile of the latencies, in milliseconds; of the refusals', if that is asked for."""
        seconds = self.refusals if refused else self.latencies
        return 1e3 * float(np.percentile(seconds, percent)) if seconds else float("nan")


class Connection(asyncio.Protocol):
    """One kept connection: a request at a time, told when its answer is whole."""

    def __init__(self, done: Callable[["Connection", int, bytes], None]) -> None:
        self._done, self._body = done, bytearray()
        self._parser = httptools.HttpResponseParser(self)
        self.asked, self.since, self.waits = 0, 0.0, False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Parse what comes."""
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        """Gather the answer's body."""
        self._body += data

    def on_message_complete(self) -> None:
        """Tell that an answer is whole."""
        body, self._body, self.waits = bytes(self._body), bytearray(), False
        self._done(self, self._parser.get_status_code(), body)
        self._parser = httptools.HttpResponseParser(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell that nothing more will come."""
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
        url: where it listens.
        requests: to be sent, over and over, as bytes.
        connections: kept open at once.
        keep: whether to keep the different answers to each.
    """

    def __init__(self, url: str, requests: Sequence[bytes], connections: int, keep: bool = False) -> None:
        self.url, self.requests, self.connections, self.keep = url, requests, connections, keep

    def closed(self, seconds: float) -> Outcome:
        """Send on every connection as soon as its answer is there."""
        return uvloop.run(self._run(seconds, None))

    def open(self, seconds: float, rate: float) -> Outcome:
        """Send so many a second at random moments, whatever comes back; what finds no connection waits.

        A request's time counts from the moment when it was due.
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
        """Let requests become due at random moments."""
        chance, due = random.Random(0), time.perf_counter()
        while (now := time.perf_counter()) < self._end:
            while due <= now:
                self._due.append(due)
                due += chance.expovariate(rate)
            while self._due and self._idle:
                self._ask(self._idle.popleft(), self._due.popleft())
            await asyncio.sleep(min(due - now, 0.001))

    async def _connect(self) -> None:
        """Open a connection, and use it as those before it."""
        place = urlsplit(self.url)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: Connection(self._done), place.hostname, place.port
        )
        self._all.add(connection)
        self._go_on(connection)

    def _go_on(self, connection: Connection) -> None:
        """Give a connection something to do, if there is something."""
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
