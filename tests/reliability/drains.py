"""SIGTERM under load: first the server says that it is not ready, and all it has taken is answered."""

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
from tests.reliability.servers import ours, tree

CALLERS, SIDE = 12, 512
"""Clients, and pixels of a side of their images: each takes long enough to be under way at the end."""

DRAIN = 0.2


class Drained(NamedTuple):
    """How a server ended under load."""

    answered: int
    lost: int
    told: bool
    """Whether it said that it was not ready before it took no more."""

    status: int | None


class Callers:
    """Clients that ask as long as the server is ready, as behind a load balancer."""

    def __init__(self, url: str) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        self.image, self.headers = encode_jpeg(noise), {"content-type": "image/jpeg"}
        self.url, self.answered, self.lost = url, 0, 0
        self.told, self._over, self._lock = False, threading.Event(), threading.Lock()

    def ask_on(self) -> None:
        """Ask until the server is not ready."""
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
        """Look whether the server is ready until it is not."""
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
        """Ask while the server gets a signal; give its exit status."""
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
    """End a server under load by a signal."""
    with ours(settings, log) as (url, server):
        callers = Callers(url)
        status = callers.run_while(server, number)
    return Drained(callers.answered, callers.lost, callers.told, status)


def drains(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """End servers in order, and by force."""
    count, settings = 20, Settings(artifacts=artifacts, drain=DRAIN, max_queue_seconds=60)
    ended = [drain(settings, scratch / f"drained{i}", signal.SIGTERM) for i in range(count)]
    killed = drain(settings, scratch / "killed", signal.SIGKILL)
    lost, told = sum(each.lost for each in ended), sum(each.told for each in ended)
    return Finding(
        f"SIGTERM under load, {count} times: not ready first, nothing accepted is lost, exit 0",
        f"{lost} of {sum(each.answered for each in ended):,} lost; not ready first {told} times; exit "
        f"{sorted({str(each.status) for each in ended})}",
        f"SIGKILL: {killed.lost} of {killed.answered + killed.lost:,} lost",
        lost == 0 and told == count and {each.status for each in ended} == {0} and killed.lost > 0,
    )
