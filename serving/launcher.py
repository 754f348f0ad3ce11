"""The server as a process of its own: how it is started, waited for and asked."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.settings import Settings

PATIENCE = 60.0
"""Seconds that the server has to come up, to answer and to go."""

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""The server is on this machine: no proxy stands between."""


@contextmanager
def serving(settings: Settings, log: Path) -> Iterator[str]:
    """Serve artifacts on a free port while the block runs: the server's address.

    Raises:
        OSError: the server ended, or was not ready in a minute; its last words are given.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running(serve_command("127.0.0.1", port), url, log, serve_environment(settings)):
        yield url


@contextmanager
def running(
    command: list[str],
    url: str,
    log: Path,
    environment: dict[str, str],
    folder: Path | None = None,
    ready: str = "/readyz",
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a server's command, in a folder, while the block runs, which begins when the path `ready` answers.

    Raises:
        OSError: the server ended, or was not ready in a minute; its last words are given.
    """
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _wait_until_ready(server, url + ready, log)
        yield server
    finally:
        server.terminate()
        try:
            server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            server.kill()


def serve_command(host: str, port: int) -> list[str]:
    """Give the command that serves: BentoML's own."""
    service = "serving.service:GANZoo"
    return [sys.executable, "-m", "bentoml", "serve", service, "--host", host, "--port", str(port)]


def serve_environment(settings: Settings) -> dict[str, str]:
    """Give the environment that the server runs in: settings made absolute, BentoML's telemetry off."""
    artifacts = {"GANZOO_ARTIFACTS": str(settings.artifacts.resolve())}
    return {"BENTOML_DO_NOT_TRACK": "True"} | dict(os.environ) | settings.to_environment() | artifacts


def post(url: str, content: dict[str, object]) -> bytes:
    """Post JSON and give the answer's body."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(content).encode(), headers)
    with _direct.open(request, timeout=PATIENCE) as answer:
        body: bytes = answer.read()
    return body


def free_port() -> int:
    """Find a TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_until_ready(server: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    start = time.monotonic()
    while server.poll() is None and time.monotonic() - start < PATIENCE:
        try:
            _direct.open(url, timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    words = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    raise OSError(f"the server did not come up; {log} ends: {words[-1] if words else 'nothing'}")
