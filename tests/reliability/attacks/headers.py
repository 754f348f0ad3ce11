"""Malformed headers: no status 5xx, no hang, and every error has the shape that all share."""

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import psutil

from serving.settings import Settings
from tests.reliability.attacks.wire import Reply, exchange
from tests.reliability.finding import Finding
from tests.reliability.mutants import CORPUS
from tests.reliability.servers import naive, ours

KEY, ORIGIN = b"secret", b"https://example.org"

NAMES = (
    *("Content-Type", "Content-Length", "Accept", "Accept-Encoding", "Authorization", "X-API-Key", "Host"),
    *("If-None-Match", "If-Match", "If-Modified-Since", "Range", "Origin", "Referer", "Cookie", "Expect"),
    *("Access-Control-Request-Method", "Access-Control-Request-Headers", "X-Request-Id", "Forwarded"),
    *("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Inference-Header-Content-Length"),
    *("Transfer-Encoding", "Connection", "Upgrade", "HTTP2-Settings", "TE", "Trailer", "Content-Encoding"),
    *("Sec-WebSocket-Key", "Sec-WebSocket-Version", "Keep-Alive", "Via", "Traceparent", "User-Agent"),
)
"""Headers that the server, its framework or its parser reads, and some that others read."""

VALUES = (
    *(b"", b" ", b"\t", b",", b";", b"=", b"*", b"*/*", b'"', b"\\", b"\xff", b"\x80\x81", b"\xc3\xa9"),
    *(b"0", b"-1", b"+5", b"5,5", b"5 5", b"0x5", b"1e3", b"00000000000000000005", b"9" * 30, b"\xd9\xa3"),
    *(b"Bearer", b"Bearer ", b"Bearer \xff", b"Basic !", b"Basic " + b"=" * 99, b"bearer " + KEY + b" x"),
    *(b"application/json;", b"application/json; charset=\xff", b"application/json; charset=nope"),
    *(b"multipart/form-data", b"multipart/form-data; boundary", b"multipart/form-data; boundary="),
    *(b'multipart/form-data; boundary="', b"multipart/form-data; boundary=y; boundary=z", b"image/*"),
    *(b"multipart/form-data; boundary*0=a; boundary*=utf-8''%ff", b"x/y/z", b"image/png\x0b", b"form/x"),
    *(
        b"chunked",
        b"gzip, chunked",
        b"chunked, chunked",
        b"identity",
        b"chunked;q=1",
        b"xchunked",
        b"CHUNKED",
    ),
    *(b"100-continue", b"200-ok", b"websocket", b"h2c", b"TLS/1.0", b"Upgrade, HTTP2-Settings", b"close, x"),
    *(b"bytes=0-", b"bytes=-1", b"bytes=9-1", b"bytes=" + b"0-1," * 999, b'W/"x"', b'"x', b"* , *"),
    *(b"[::1", b"[", b"127.0.0.1:x", b"127.0.0.1:99999", b"a..b", b"\xc3\xa9.org", b"user@127.0.0.1", b"%00"),
    *(b"null", b"http://", b"https://example.org.evil", b"javascript:alert(1)", b"for=_x;;proto=\x7f"),
    *(b"a" * 1000, b"a" * 30_000, b"a" * 70_000, b"\x00", b"a\x00b", b"a\rb", b"a\nb", b"a\r\n b", b"%0d%0a"),
)

STARTS = (
    *(
        b"GET / HTTP/1.1",
        b"GET / HTTP/1.0",
        b"GET / HTTP/0.9",
        b"GET / HTTP/2.0",
        b"GET / HTTP/9.9",
        b"GET /",
    ),
    *(b"PRI * HTTP/2.0", b"get / HTTP/1.1", b"G\xffT / HTTP/1.1", b"XYZZY / HTTP/1.1", b"\x16\x03\x01\x02"),
    *(b"OPTIONS * HTTP/1.1", b"CONNECT a:1 HTTP/1.1", b"CONNECT / HTTP/1.1", b"GET http://[ HTTP/1.1", b""),
    *(
        b"GET http://127.0.0.1/livez HTTP/1.1",
        b"GET //x HTTP/1.1",
        b"GET /\xff HTTP/1.1",
        b"GET /%ff HTTP/1.1",
    ),
    *(b"GET  / HTTP/1.1", b"GET /a b HTTP/1.1", b"GET / HTTP/1.1 x", b"GET /" + b"a" * 70_000 + b" HTTP/1.1"),
    *(b"TRACE / HTTP/1.1", b"PUT /v1/models HTTP/1.1", b"PATCH /sample HTTP/1.1", b"SEARCH / HTTP/1.1"),
    *(b"GET ?a HTTP/1.1", b"GET #a HTTP/1.1", b"GET /v2/nope HTTP/1.1", b"PROPFIND /v2 HTTP/1.1"),
)
"""First lines of requests."""

LINES = (
    *(
        b"NoColon",
        b": no-name",
        b"Sp ace: x",
        b"Name : x",
        b" folded",
        b"\tfolded",
        b"N\xffme: x",
        b"N\x00: x",
    ),
    *(b"a" * 40_000 + b": x", b"Content-Length: 5\r\nContent-Length: 6", b"Host: a\r\nHost: b"),
    *(b"Transfer-Encoding: chunked\r\nContent-Length: 3", b"X: " + b"y" * 33_000, b"\x00", b"\r", b"(): x"),
    b"\r\n".join(b"X%d: y" % number for number in range(300)),
)
"""Lines that are no header, or several that contradict each other."""

CHUNKS = (
    *(
        b"0\r\n\r\n",
        b"2\r\n{}\r\n0\r\n\r\n",
        b"x\r\n",
        b"-1\r\n",
        b"2 \r\n{}\r\n0\r\n\r\n",
        b"f" * 20 + b"\r\n",
    ),
    *(
        b"2\r\n{}x\r\n0\r\n\r\n",
        b"2;a=b\r\n{}\r\n0\r\n\r\n",
        b"2;" + b"a" * 70_000 + b"\r\n{}\r\n0\r\n\r\n",
        b"\r\n\r\n",
    ),
    b"0\r\n" + b"".join(b"T%d: y\r\n" % number for number in range(300)) + b"\r\n",
    *(
        b"2\r\n{}\r\n0\r\nTrailer\r\n\r\n",
        b"02\r\n{}\r\n0\r\n\r\n",
        b"2\n{}\n0\n\n",
        b"0x2\r\n{}\r\n0\r\n\r\n",
    ),
)
"""Bodies in chunks, of which few are valid."""


CRASHED = "with status 5xx"


class Case(NamedTuple):
    """A request as bytes, and what it tries."""

    request: bytes
    tries: str


def cases(seed: int) -> Iterator[Case]:
    """Yield requests with malformed headers endlessly."""
    chance = random.Random(seed)
    yield from (Case(_whole(start, _basic()), f"the start {start[:40]!r}") for start in STARTS)
    for line in LINES:
        yield Case(_whole(*_valid(chance), line), f"the line {line[:40]!r}")
    for chunks in CHUNKS:
        start, lines, _ = _valid(chance)
        lines = {**lines, b"Transfer-Encoding": b"chunked"}
        yield Case(_whole(start, lines, chunks), f"the chunks {chunks[:40]!r}")
    for name, value in _pairs(chance):
        yield Case(_whole(*_with(chance, {name: value})), f"{name!r}: {value[:40]!r}")
    while True:
        given = {chance.choice(NAMES).encode(): _value(chance) for _ in range(chance.randint(1, 4))}
        yield Case(_whole(*_with(chance, given)), repr(given)[:200])


def _pairs(chance: random.Random) -> Iterator[tuple[bytes, bytes]]:
    """Yield every header with every value, in rounds of all headers, so that few cases have each of them."""
    values = {name.encode(): chance.sample(VALUES, len(VALUES)) for name in NAMES}
    for number in range(len(VALUES)):
        names = chance.sample(list(values), len(values))
        yield from ((name, values[name][number]) for name in names)


def _value(chance: random.Random) -> bytes:
    values = [chance.choice(VALUES), chance.choice(VALUES), chance.randbytes(chance.randint(1, 40))]
    return b"".join(values[: chance.randint(1, 3)])


def _basic() -> dict[bytes, bytes]:
    return {b"Host": b"127.0.0.1", b"Authorization": b"Bearer " + KEY, b"Origin": ORIGIN}


def _valid(chance: random.Random) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """Return a valid request: its first line, its headers and its body."""
    tensor = {"name": "latent", "shape": [1, 1], "datatype": "FP32", "data": [0.5]}
    image = (CORPUS / "rgb.png").read_bytes()
    form = (
        b'--y\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
        + image
        + b"\r\n--y--\r\n"
    )
    path, kind, body = chance.choice(
        [
            (b"/v1/models/pictures/sample", b"application/json", b'{"seed": 1}'),
            (b"/sample", b"application/json", b'{"model": "pictures"}'),
            (b"/v1/models/styles/translate", b"image/png", image),
            (b"/v1/models/styles/translate", b"multipart/form-data; boundary=y", form),
            (b"/v2/models/pictures/infer", b"application/json", json.dumps({"inputs": [tensor]}).encode()),
            (b"/v1/models/pictures/samples/3.png", b"", b""),
            (b"/docs", b"", b""),
        ]
    )
    if not body:
        return chance.choice([b"GET", b"HEAD", b"OPTIONS"]) + b" %s HTTP/1.1" % path, _basic(), b""
    sized = {b"Content-Type": kind, b"Content-Length": b"%d" % len(body)}
    return b"POST %s HTTP/1.1" % path, _basic() | sized, body


def _with(chance: random.Random, given: dict[bytes, bytes]) -> tuple[bytes, dict[bytes, bytes], bytes]:
    start, lines, body = _valid(chance)
    replaced = {name.lower() for name in given}
    kept = {name: value for name, value in lines.items() if name.lower() not in replaced}
    return start, kept | given, body


def _whole(start: bytes, lines: dict[bytes, bytes], body: bytes = b"", line: bytes = b"") -> bytes:
    head = [start, *(b"%s: %s" % each for each in lines.items()), *([line] if line else [])]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


class Fuzzed(NamedTuple):
    """The result of a run."""

    count: int
    failed: list[tuple[str, Reply]]
    """Requests with a status 5xx, without a response, or with an error of another shape."""

    kinds: Counter[str]
    slowest: float

    def __str__(self) -> str:
        said = ", ".join(f"{count} {kind}" for kind, count in self.kinds.items()) or "0"
        return f"{said} of {self.count:,}"


def fuzz(url: str, count: int, seed: int = 0) -> Fuzzed:
    """Send `count` requests with malformed headers, each on a connection of its own."""
    failed, kinds, slowest = [], Counter[str](), 0.0
    for case in itertools.islice(cases(seed), count):
        reply = exchange(url, case.request)
        slowest = max(slowest, reply.seconds)
        if fault := _fault(reply, case.request):
            failed.append((case.tries, reply))
            kinds[fault] += 1
    return Fuzzed(count, failed, kinds, slowest)


def _fault(reply: Reply, request: bytes) -> str | None:
    """Return what is wrong with a response; None if nothing is."""
    match reply.status:
        case -1:
            return "hung"
        case 0:
            return "without a response"
        case status if status >= 500:
            return CRASHED
        case status if status >= 400 and not reply.is_problem and not request.startswith(b"HEAD"):
            return "errors of another shape"
        case _ if "x-request-id" not in reply.headers:
            return "without a request id"
    return None


def settings_of(artifacts: Path) -> Settings:
    """Return settings with which the server reads every header that it can read."""
    return Settings(
        artifacts=artifacts,
        api_keys=KEY.decode(),
        hosts="127.0.0.1, *.example.org",
        cors_origins=ORIGIN.decode(),
    )


def careless(settings: Settings, log: Path) -> AbstractContextManager[tuple[str, psutil.Process]]:
    """Run the control in a context."""
    return naive(settings, log, app="tests.reliability.attacks.careless:app")


def headers(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Send malformed headers to our server and to the control."""
    count, settings = 200_000 if long else 8000, settings_of(artifacts)
    with ours(settings, log := scratch / "ours") as (url, _):
        found = fuzz(url, count)
    tracebacks = log.read_text(errors="replace").count("Traceback")
    with careless(settings, scratch / "careless") as (url, _):
        control = fuzz(url, 1000)
    return Finding(
        f"{count:,} requests with malformed headers, request lines and chunks: no status 5xx, no hang, no "
        "traceback in the log, and every error is JSON with a request id",
        f"{found}; {tracebacks} tracebacks; the slowest took {found.slowest:.2f} s",
        f"handlers that trust headers: {control}",
        not found.failed and not tracebacks and control.kinds[CRASHED] > 0,
    )
