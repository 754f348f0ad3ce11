"""SIGTERM under load: /readyz returns 503 first, and every accepted request is answered."""

import signal
import threading
import time
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import psutil

from serving.imaging.codec import encode_jpeg
from serving.settings import Settings
from tests.reliability.finding import Finding
from tests.reliability.servers import changed, ours, tree

CALLERS, SIDE = 12, 512
"""Number of clients, and image side in pixels; large images keep requests in flight at the signal."""

DRAIN = 0.2


class Drained(NamedTuple):
    """The result of stopping a server under load."""

    answered: int
    lost: int
    told: bool
    """Whether /readyz returned 503 before the server stopped accepting connections."""

    status: int | None


class Callers:
    """Clients that send requests while the server is ready, as a load balancer does."""

    def __init__(self, url: str) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        self.image, self.headers = encode_jpeg(noise), {"content-type": "image/jpeg"}
        self.url, self.answered, self.lost = url, 0, 0
        self.told, self._over, self._lock = False, threading.Event(), threading.Lock()

    def ask_on(self) -> None:
        """Send requests until the server is not ready."""
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while not self._over.is_set():
                try:
                    path = "/v1/models/styles/translate?format=jpeg"
                    answer = client.post(path, content=self.image, headers=self.headers)
                    good = answer.status_code == 200
                except httpx.TransportError:
                    good = False
                with self._lock:
                    self.answered, self.lost = self.answered + good, self.lost + (not good)
                if not good:
                    return

    def look(self) -> None:
        """Poll /readyz until the server is not ready."""
        with httpx.Client(base_url=self.url, timeout=5) as client:
            while not self._over.is_set():
                try:
                    if client.get("/readyz").status_code == 503:
                        self.told = True
                        self._over.set()
                except httpx.TransportError:
                    self._over.set()
                time.sleep(0.01)

    def run_while(self, server: psutil.Process, number: signal.Signals) -> int | None:
        """Send requests while the server gets a signal; return its exit status."""
        threads = [threading.Thread(target=self.ask_on) for _ in range(CALLERS)]
        threads.append(threading.Thread(target=self.look))
        for thread in threads:
            thread.start()
        time.sleep(2)
        for process in tree(server) if number == signal.SIGKILL else [server]:
            process.send_signal(number)
        status: int | None = server.wait(60)
        for thread in threads:
            thread.join()
        return status


def drain(settings: Settings, log: Path, number: signal.Signals) -> Drained:
    """Stop a server under load with a signal."""
    with ours(settings, log) as (url, server):
        callers = Callers(url)
        status = callers.run_while(server, number)
    return Drained(callers.answered, callers.lost, callers.told, status)


def drains(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Stop servers with SIGTERM, and one with SIGKILL as the control."""
    count, settings = 20, Settings(artifacts=artifacts, drain=DRAIN, max_queue_seconds=60)
    ended = [drain(settings, scratch / f"drained{i}", signal.SIGTERM) for i in range(count)]
    killed = drain(settings, scratch / "killed", signal.SIGKILL)
    lost, told = sum(each.lost for each in ended), sum(each.told for each in ended)
    return Finding(
        f"SIGTERM under load, {count} times, with {changed(settings)}: /readyz returns 503 first, no "
        "accepted request is lost, exit status 0",
        f"{lost} of {sum(each.answered for each in ended):,} lost; 503 first {told} times; exit status "
        f"{', '.join(sorted({str(each.status) for each in ended}))}",
        f"SIGKILL: {killed.lost} of {killed.answered + killed.lost:,} lost",
        lost == 0 and told == count and {each.status for each in ended} == {0} and killed.lost > 0,
    )
