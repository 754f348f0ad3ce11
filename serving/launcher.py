"""The server as a subprocess: starting it, waiting until it is ready, sending requests."""

import errno
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

from serving.errors import UserError, shown
from serving.settings import Settings
from serving.system.folders import must_be_writable, writable_or_temporary

TIMEOUT = 60.0
"""Timeout in seconds for the server to start, to respond and to stop."""

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""URL opener without a proxy, because the server runs on this machine."""


@contextmanager
def serving(settings: Settings, log: Path) -> Iterator[str]:
    """Serve artifacts on a free port while the block runs, and yield the server's URL.

    Raises:
        OSError: the server exited or was not ready in time; the message has the last line of its log.
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
    """Run a server's command while the block runs; the block starts when the server is ready.

    Args:
        command: the command and its arguments.
        url: the server's URL, without a path.
        log: file for the server's output.
        environment: environment variables of the server.
        folder: working directory of the server.
        ready: path that responds as soon as the server is ready.

    Raises:
        OSError: the server exited or was not ready in time; the message has the last line of its log.
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
            server.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def serve_command(host: str, port: int) -> list[str]:
    """Return the BentoML command that starts the server."""
    root = str(Path(__file__).parents[1])
    service = ["serving.service:GANZoo", "--working-dir", root, "--host", host, "--port", str(port)]
    return [sys.executable, "-m", "bentoml", "serve", *service]


def serve_environment(settings: Settings) -> dict[str, str]:
    """Return the server's environment: the settings with an absolute path, and BentoML's telemetry off.

    The working directory is not on Python's path, so that a folder named `serving` in it is not imported.
    BentoML creates folders in BENTOML_HOME; if its default can't be written, a temporary folder is used.

    Raises:
        OSError: BENTOML_HOME is set and can't be written.
    """
    own = {"GANZOO_ARTIFACTS": str(settings.artifacts.resolve()), "PYTHONSAFEPATH": "1"}
    if home := os.environ.get("BENTOML_HOME"):
        must_be_writable(Path(home))
    else:
        own["BENTOML_HOME"] = str(writable_or_temporary("~/bentoml"))
    return {"BENTOML_DO_NOT_TRACK": "True"} | dict(os.environ) | settings.to_environment() | own


def address_of(host: str, port: int) -> str:
    """Return the IP address of a host of this machine, after trying to bind the port there.

    Raises:
        UserError: the port is out of range or in use, or the host is not one of this machine.
    """
    if not 1 <= port < 2**16:
        raise UserError(f"port must be from 1 to {2**16 - 1}; got {port}")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM) if host else []
    except (OSError, UnicodeError):  # UnicodeError: a part of the name is too long
        found = []
    wrong = UserError(f"host must be an address or a name of this machine; got {shown(host)}")
    if not found:
        raise wrong
    family, kind, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)  # IPv4 first
    try:
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise wrong from error
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"the port {port} of {host} is in use; choose another port") from error
        raise UserError(f"the port {port} of {host} can't be bound: {error.strerror}") from error
    return str(address[0])


def post(url: str, content: dict[str, object]) -> bytes:
    """Send a POST request with a JSON body, and return the body of the response."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(content).encode(), headers)
    with _direct.open(request, timeout=TIMEOUT) as answer:
        body: bytes = answer.read()
    return body


def free_port() -> int:
    """Return a TCP port that is not in use."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def _wait_until_ready(server: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    start = time.monotonic()
    while server.poll() is None and time.monotonic() - start < TIMEOUT:
        try:
            _direct.open(url, timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    words = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = words[-1] if words else "(none)"
    raise OSError(f"the server did not start within {TIMEOUT:g} s; the last line of {log} is: {last}")
