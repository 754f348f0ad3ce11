"""What protects browsers: media types, policies, hosts, origins and caches, in every response."""

import base64
import dataclasses
import json
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from serving.settings import Settings
from tests.reliability.attacks.wire import connected, receive
from tests.reliability.finding import Finding
from tests.reliability.mutants import CORPUS
from tests.reliability.servers import naive, ours

KEY, HOST, ORIGIN = "secret", "127.0.0.1", "https://pages.example.org"
STRANGE_HOST, STRANGE_ORIGIN = "evil.example", "https://evil.example"

BODY, BODIES, CROWD = 2000, 2500, 150
"""Maximum bytes of a JSON body and of all bodies together, and requests at once of which some are refused."""

HEALTH = ("/livez", "/readyz", "/v2/health/live", "/v2/health/ready")

IMAGE = (CORPUS / "one.png").read_bytes()
TENSOR = {"name": "latent", "shape": [1, 1], "datatype": "FP32", "data": [0.5]}
PICTURE, SAMPLE = "/v1/models/pictures/samples", "/v1/models/pictures/sample"


class Probe(NamedTuple):
    """A request, and the status of its response."""

    path: str
    status: int = 200
    method: str = "GET"
    content: bytes | None = None
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed


def _json(path: str, status: int, **body: Any) -> Probe:
    return Probe(path, status, "POST", json.dumps(body).encode(), {"Content-Type": "application/json"})


PROBES = (
    *(Probe(path) for path in ("/", "/docs", "/docs.json", "/schema.json", "/metrics", *HEALTH)),
    *(Probe(path) for path in ("/playground/app.js", "/playground/style.css", "/playground/icon.svg")),
    *(Probe(path) for path in ("/static_content/docs.js", "/static_content/swagger-ui.css")),
    *(Probe(path) for path in ("/v1/models", "/v1/models/pictures", f"{PICTURE}/3.png", "/v2")),
    *(Probe("/v2/models/pictures"), Probe("/", 405, "POST"), Probe("/", method="HEAD")),
    *(Probe(path, 404) for path in ("/nope", "/playground/nope.js", "/static_content/nope.html", "/docs/")),
    *(Probe(path, 404) for path in ("/v1/models/nope", "/v2/models/nope", f"{PICTURE}/-1.png", "/%0d%0a<b>")),
    *(Probe(f"{PICTURE}/3.png?label=nope", 400), Probe(f"{PICTURE}/3.png?version=nope", 404)),
    *(Probe(SAMPLE, 405), Probe("/v1/models", 405, "DELETE"), Probe("/v1/models", 401)),
    *(Probe("/v1/models", 431, headers={"X-Large": "x" * 40_000}), _json(SAMPLE, 200, seed=1)),
    *(_json(SAMPLE, 400, seed="<script>"), _json(SAMPLE, 413, label="x" * BODY), _json("/sample", 400)),
    *(_json("/sample", 200, model="pictures"), _json("/sample", 404, model="<b>"), Probe("/sample", 405)),
    _json("/translate", 200, model="styles", image=base64.b64encode(IMAGE).decode()),
    _json("/v2/models/pictures/infer", 400, inputs=[TENSOR]),
    *(
        Probe("/v1/models/styles/translate", status, "POST", body, {"Content-Type": kind})
        for status, body, kind in (
            *((200, IMAGE, "image/png"), (415, b"<html>", "image/png"), (415, IMAGE, "text/html")),
            (429, IMAGE + b" " * BODIES, "image/png"),
        )
    ),
)

NOT_DRAWN = (
    *("pictures/samples/3.png?label=nope", "pictures/samples/3.png?label=99", "nope/samples/3.png"),
    *("pictures/samples/99999999999999999999.png", "pictures/samples/-1.png", "pictures/samples/x.png"),
    *("pictures/samples/3.png?version=nope", "pictures/samples/3.png?truncation=0", "styles/samples/3.png"),
    *("pictures/samples/3.png?truncation=nan", "pictures/samples/3.png?colour=red"),
    *("classes/samples/3.png?label=nope", "classes/samples/3.png?label=-1"),
)
"""Images that no one can have, below the path of all models."""

KINDS = {"paths", "hosts", "origins", "media types", "policies", "images that can't be drawn"}
"""What is checked."""


class Checked:
    """The checks of a server, by kind."""

    def __init__(self) -> None:
        self.count, self.failed, self.said = 0, Counter[str](), list[str]()

    def must(self, kind: str, is_kept: bool, what: object) -> None:
        """Count a check."""
        self.count += 1
        if not is_kept:
            self.failed[kind] += 1
            self.said.append(f"{kind}: {what}"[:300])

    @property
    def is_careless(self) -> bool:
        """Whether most checks have failed, and some of every kind."""
        return 2 * self.failed.total() > self.count and set(self.failed) >= KINDS

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} of {kind}" for kind, count in sorted(self.failed.items()))
        return f"{self.failed.total():,} of {self.count:,} checks failed" + (f" ({kinds})" if kinds else "")

    def see(self, answer: httpx.Response | Any, what: object) -> None:
        """Check what every response must have."""
        headers = answer.headers
        self.must("media types", headers.get("x-content-type-options") == "nosniff", what)
        if headers.get("content-type", "").startswith("text/html"):
            policy = headers.get("content-security-policy", "")
            self.must("policies", "default-src 'self'" in policy and "script-src" not in policy, what)


def browse(url: str, settings: Settings) -> Checked:
    """Check every response of a server with some settings."""
    found = Checked()
    with httpx.Client(base_url=url + settings.prefix, headers={"X-API-Key": KEY}, timeout=10) as client:
        for probe in PROBES:
            _probe(found, client, probe, settings)
        _preflight(found, client, settings)
        for path in NOT_DRAWN:
            answer = client.get(f"/v1/models/{path}", headers={"If-None-Match": "*"})
            found.must("images that can't be drawn", answer.status_code in (400, 404), path)
            found.see(answer, path)
    _crowd(found, url, settings)
    return found


def _send(
    client: httpx.Client, method: str, path: str, headers: dict[str, str], content: bytes | None = None
) -> httpx.Response:
    """Send a request; if its response can't be parsed, return one with the status 0."""
    try:
        return client.request(method, path, headers=headers, content=content)
    except httpx.TransportError:
        return httpx.Response(0)


def _probe(found: Checked, client: httpx.Client, probe: Probe, settings: Settings) -> None:
    """Send a request for this host, for another one, from a listed page, and from another one."""

    def ask(**headers: str) -> httpx.Response:
        own = {"X-API-Key": "wrong"} if probe.status == 401 else {}
        given = probe.headers | own | headers
        return _send(client, probe.method, probe.path, given, probe.content)

    answer, elsewhere = ask(), ask(Host=STRANGE_HOST)
    listed, stranger = ask(Origin=ORIGIN), ask(Origin=STRANGE_ORIGIN)
    found.must("paths", answer.status_code == probe.status, (probe[:3], answer))
    is_read = probe.status != 431  # headers that are too large are not read
    wanted = 421 if settings.hosts and probe.path not in HEALTH and is_read else probe.status
    found.must("hosts", elsewhere.status_code == wanted, (probe[:3], elsewhere))
    _must_be_readable_by(found, listed, (is_read and settings.cors_origins) or None, probe[:3])
    _must_be_readable_by(found, stranger, None, probe[:3])
    for each in (answer, elsewhere, listed, stranger):
        found.see(each, probe[:3])
        if settings.cors_origins:
            found.must("origins", "Origin" in each.headers.get("vary", ""), (probe[:3], "without Vary"))


def _must_be_readable_by(found: Checked, answer: Any, origin: str | None, what: object) -> None:
    """Check the origin whose pages may read a response; None for none."""
    found.must("origins", answer.headers.get("access-control-allow-origin") == origin, (what, origin))


def _preflight(found: Checked, client: httpx.Client, settings: Settings) -> None:
    """Ask as browsers do before they send a page's request."""
    for origin in (ORIGIN, STRANGE_ORIGIN):
        asking = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answer = _send(client, "OPTIONS", SAMPLE, asking)
        may = settings.cors_origins == origin
        wanted = 204 if may else 403 if settings.cors_origins else 405
        found.must("origins", answer.status_code == wanted, (answer, "preflight"))
        _must_be_readable_by(found, answer, origin if may else None, "preflight")
        found.see(answer, "preflight")


def _crowd(found: Checked, url: str, settings: Settings) -> None:
    """Send many requests at once, and check the refusals, which the app never sees."""
    body = b'{"n": 64}'
    head = (
        f"POST {settings.prefix}{SAMPLE} HTTP/1.1\r\nHost: {HOST}\r\nX-API-Key: {KEY}\r\nOrigin: {ORIGIN}\r\n"
    )
    request = f"{head}Content-Length: {len(body)}\r\nContent-Type: application/json\r\n\r\n".encode() + body
    with ExitStack() as stack:
        connections = [stack.enter_context(connected(url)) for _ in range(CROWD)]
        for connection in connections:
            connection.sendall(request)
        replies = [receive(connection, time.perf_counter()) for connection in connections]
    found.must("paths", 429 in {reply.status for reply in replies}, "a crowd")
    for reply in replies:
        found.see(reply, what := ("a crowd", reply.status))
        _must_be_readable_by(found, reply, settings.cors_origins or None, what)


def settings_of(artifacts: Path) -> Settings:
    """Return settings without hosts, origins and prefix."""
    return Settings(artifacts=artifacts, api_keys=KEY, max_body=BODY, max_bodies=BODIES)


def protected(settings: Settings) -> Settings:
    """Return settings with them."""
    return dataclasses.replace(settings, hosts=HOST, cors_origins=ORIGIN, prefix="/tools/gan")


def browse_ours(settings: Settings, log: Path) -> Checked:
    """Check our server."""
    with ours(settings, log) as (url, _):
        return browse(url, settings)


def browse_control(settings: Settings, log: Path) -> Checked:
    """Check the control, which knows no prefix."""
    settings = dataclasses.replace(settings, prefix="")
    with naive(settings, log, app="tests.reliability.attacks.plain_pages:app") as (url, _):
        return browse(url, settings)


def browsers(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Check our server with and without hosts, origins and a prefix, and the control."""
    plain, whole = settings_of(artifacts), protected(settings_of(artifacts))
    found = {
        "with hosts, origins and a prefix": browse_ours(whole, scratch / "whole"),
        "without": browse_ours(plain, scratch / "plain"),
    }
    control = browse_control(whole, scratch / "control")
    return Finding(
        f"{len(PROBES)} requests to this host and another one, from pages of two origins, and a crowd: every "
        "response has `nosniff`, every page a policy, other hosts and origins get nothing, and no image that "
        "can't be drawn is 'not modified'",
        "; ".join(f"{name}: {each}" for name, each in found.items()),
        f"a plain app with CORS for all: {control}",
        not any(each.failed for each in found.values()) and control.is_careless,
    )
