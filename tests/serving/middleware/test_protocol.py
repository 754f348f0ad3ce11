"""Connections of a real server: requests that are no HTTP, too large, too slow, or want another protocol."""

import contextlib
import json
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.api.app import ERROR_BODIES
from serving.launcher import free_port, serving
from serving.middleware import protocol
from serving.middleware.protocol import HEAD_SECONDS, MAX_HEAD, MAX_HEADERS, BoundedProtocol
from serving.middleware.request import RequestMiddleware
from serving.middleware.request_limit import RequestLimit
from serving.settings import Settings

HEAD = b"POST /v1/models/pictures/sample HTTP/1.1\r\nHost: zoo\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def server(artifacts, tmp_path_factory):
    """A server's address and its log."""
    log = tmp_path_factory.mktemp("server") / "log"
    with serving(Settings(artifacts=artifacts, provider="cpu"), log) as url:
        yield url, log


def exchange(url: str, *parts: bytes, seconds: float = 15) -> tuple[int, dict[str, str], bytes]:
    """Send bytes, and read the answer to its end: its status, headers and body."""
    place = httpx.URL(url)
    with socket.create_connection((place.host, place.port), timeout=seconds) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            pass  # answered before all was sent
        data = b""
        while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < _length(data):
            more = connection.recv(2**16)
            if not more:
                break
            data += more
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


def _length(data: bytes) -> int:
    for line in data.partition(b"\r\n\r\n")[0].lower().split(b"\r\n"):
        if line.startswith(b"content-length: "):
            return int(line.split()[1])
    return 0


REFUSED = {
    "no HTTP": ([b"hello\r\n\r\n"], 400),
    "no HTTP at all": ([bytes(range(256)) * 10], 400),
    "TLS": ([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 100], 400),
    "another version": ([b"GET / HTTP/9.9\r\n\r\n"], 400),
    "a path of other letters": (["GET /é HTTP/1.1\r\nHost: zoo\r\n\r\n".encode()], 400),
    "two lengths": ([HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"], 400),
    "a length that is none": ([HEAD + b"Content-Length: -2\r\n\r\n{}"], 400),
    "a header that is none": ([b"GET /livez HTTP/1.1\r\nHost: zoo\r\nhello\r\n\r\n"], 400),
    "many headers": ([HEAD + b"".join(b"x%d: y\r\n" % i for i in range(2 * MAX_HEADERS)) + b"\r\n"], 431),
    "a large header": ([HEAD + b"x: " + b"y" * 2 * MAX_HEAD + b"\r\n\r\n"], 431),
    "a large path": ([b"GET /" + b"y" * 2 * MAX_HEAD + b" HTTP/1.1\r\nHost: zoo\r\n\r\n"], 431),
    "a header without an end": ([HEAD + b"x: ", *([b"y" * 2**16] * 100)], 431),
    "trailers without an end": ([CHUNKED + b"2\r\n{}\r\n0\r\nx: ", *([b"y" * 2**16] * 100)], 431),
    "many trailers": ([CHUNKED + b"2\r\n{}\r\n0\r\n" + b"x: y\r\n" * 2 * MAX_HEADERS + b"\r\n"], 431),
    "a chunk extension without an end": ([CHUNKED + b"2;", *([b"y" * 2**16] * 100)], 431),
    "a chunk that is none": ([CHUNKED + b"2\r\n{}\r\nhello\r\n\r\n"], 400),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_answered_as_all_errors_are(server, name):
    url, log = server
    parts, wanted = REFUSED[name]
    status, headers, body = exchange(url, *parts)
    content = json.loads(body)
    assert (status, headers["connection"]) == (wanted, "close")
    assert headers["content-type"] == "application/json"
    assert set(content) == {"error", "request_id"}
    assert content["request_id"] == headers["x-request-id"]
    assert logged(log, content["request_id"])["status"] == wanted
    assert httpx.get(f"{url}/livez").status_code == 200


def logged(log: Path, request: str) -> dict:
    """The line of a request in the log, once it is there."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        for line in log.read_text().splitlines():
            if request in line:
                return json.loads(line)
        time.sleep(0.05)
    raise AssertionError(f"{request} is not in the log")


def test_refusals_are_counted(server):
    url, _ = server
    exchange(url, b"hello\r\n\r\n")
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    assert any('status="400"' in line and 'route="other"' in line for line in lines)


@pytest.mark.parametrize(("path", "wanted"), [("/livez", 200), ("/v1/ws", 404), ("/v1/models/nope", 404)])
def test_a_websocket_is_no_part_of_it(server, path, wanted):
    url, log = server
    asked = [
        f"GET {path} HTTP/1.1\r\nHost: zoo\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n".encode(),
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    ]
    status, headers, body = exchange(url, *asked)
    assert (status, headers["connection"]) == (wanted, "close")
    assert json.loads(body)
    assert logged(log, headers["x-request-id"])["status"] == wanted


def test_ordinary_requests_go_on_the_same_connection(server):
    url, _ = server
    with httpx.Client(base_url=url, headers={"x-large": "y" * 8000}) as client:
        for _ in range(3):
            assert client.post("/v1/models/pictures/sample", json={}).status_code == 200
            assert client.post("/v1/models/pictures/sample", content=b"{").status_code == 415


@pytest.mark.slow
def test_headers_have_a_deadline(server):
    url, _ = server
    start = time.monotonic()
    status, _, body = exchange(url, b"GET /livez HTTP/1.1\r\nX-Slow: ", seconds=2 * HEAD_SECONDS)
    assert (status, json.loads(body)["error"]["code"]) == (408, "too_slow")
    assert time.monotonic() - start < HEAD_SECONDS + 3


LARGE = bytes(2**24)


async def app(scope, receive, send):
    """Read a request, and answer with more than the kernel holds for a client."""
    await Request(scope, receive).body()
    await Response(LARGE)(scope, receive, send)


@contextlib.contextmanager
def in_process(app):
    """Serve an app in this process, in a thread; yield its URL and the server."""
    BoundedProtocol.limit = RequestLimit(lambda scope: b"")
    port = free_port()
    config = uvicorn.Config(app, port=port, http=BoundedProtocol, lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}", server
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


@contextlib.contextmanager
def asking(url: str):
    """Ask for a large response, with little room for it."""
    place = httpx.URL(url)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((place.host, place.port))
        connection.sendall(b"GET / HTTP/1.1\r\nHost: zoo\r\n\r\n")
        yield connection


def test_who_takes_nothing_of_a_response_is_disconnected(monkeypatch):
    monkeypatch.setattr(protocol, "TAKE_SECONDS", 0.2)
    with in_process(app) as (url, server), asking(url):
        time.sleep(0.1)
        assert server.server_state.connections
        time.sleep(0.5)
        assert not server.server_state.connections


def test_who_takes_nothing_holds_up_no_end(monkeypatch):
    monkeypatch.setattr(protocol, "TAKE_SECONDS", 0.5)
    with in_process(app) as (url, server), asking(url):
        time.sleep(0.1)
        server.should_exit = True


def test_who_takes_a_response_slowly_gets_all_of_it(monkeypatch):
    monkeypatch.setattr(protocol, "TAKE_SECONDS", 0.2)
    with in_process(app) as (url, _), asking(url) as connection:
        size, start = 0, time.monotonic()
        while size < len(LARGE) and (part := connection.recv(2**16)):
            size += len(part)
            if time.monotonic() - start < 1:
                time.sleep(0.02)
    assert size >= len(LARGE)


def test_want_of_memory_for_a_body_is_no_fault_of_the_client(monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(HttpToolsProtocol, "on_body", fail)
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.1)
    with in_process(RequestMiddleware(app, ERROR_BODIES)) as (url, _):
        status, headers, body = exchange(
            url, HEAD + b"Content-Length: 500000\r\n\r\n", *([b"x" * 50_000] * 10)
        )
    assert (status, json.loads(body)["error"]["code"]) == (503, "out_of_memory")
    assert (headers["retry-after"], headers["connection"]) == ("1", "close")
