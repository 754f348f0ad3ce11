"""Malformed typed calls of BentoML: no status 5xx, no traceback, no details of a library."""

import base64
import copy
import io
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from PIL import Image

from serving.settings import Settings
from tests.reliability.attacks import servers
from tests.reliability.attacks.wire import connected, exchange
from tests.reliability.finding import Finding
from tests.reliability.mutants import CORPUS, NASTY
from tests.reliability.servers import ours

IMAGE = base64.b64encode((CORPUS / "rgb.png").read_bytes()).decode()
BODIES: dict[str, dict[str, Any]] = {
    "/sample": {"model": "pictures", "n": 1, "seed": 5},
    "/translate": {"model": "styles", "image": IMAGE, "direction": "a2b"},
}
BASE64 = (
    *("é", "\x00", "=", "====", "a", "aGVsbG8", "aGVsbG8=\n", "data:image/png;base64," + IMAGE, IMAGE[:-7]),
    *(
        IMAGE + "=",
        "=" + IMAGE,
        IMAGE.replace("A", "-"),
        " " + IMAGE,
        "aGVsbG8=" * 9,
        "http://127.0.0.1/",
        "٣",
    ),
)
KINDS = (
    *(
        "application/json",
        "application/json; charset=utf-16",
        "application/json; charset=é",
        "text/plain",
        "",
    ),
    *(
        "multipart/form-data",
        "multipart/form-data; boundary=y",
        "application/x-www-form-urlencoded",
        "image/png",
    ),
    *("application/vnd.bentoml+pickle", "application/vnd.bentoml+json", "application/octet-stream", "x"),
)
LEAKS = ("pydantic", "Traceback", "errors.pydantic.dev", "BaseModel", ".py", "'ctx'", "input_value")
"""Words of libraries that no response may have."""

PLAIN = "tests.reliability.attacks.plain_service:Plain"
"""The control."""

LEAVERS = 50
"""Clients that leave in the middle of a body."""


class Called(NamedTuple):
    """The result of a run."""

    count: int
    faults: Counter[str]
    tracebacks: int

    def __str__(self) -> str:
        said = ", ".join(f"{count} {kind}" for kind, count in self.faults.items()) or "no failure"
        return f"{said} of {self.count:,}, {self.tracebacks} tracebacks in the log"


def cases(seed: int) -> Iterator[bytes]:
    """Yield malformed typed calls endlessly, as bytes."""
    chance = random.Random(seed)
    for text in BASE64:
        yield _request("/translate", json.dumps(BODIES["/translate"] | {"image": text}).encode())
    for path, body in BODIES.items():
        yield from (_request(path, json.dumps(body).encode(), kind) for kind in KINDS)
        for name, value in itertools.product((*body, "colour"), NASTY):
            yield _request(path, json.dumps(body | {name: value}).encode())
    while True:
        path = chance.choice(list(BODIES))
        data = bytearray(json.dumps(_spoilt(BODIES[path], chance)).encode())
        for _ in range(chance.randint(0, 3)):
            place = chance.randrange(len(data))
            data[place : place + chance.randint(0, 9)] = chance.randbytes(chance.randint(0, 4))
        yield _request(path, bytes(data), chance.choice([KINDS[0], KINDS[0], chance.choice(KINDS)]))


def _spoilt(body: dict[str, Any], chance: random.Random) -> Any:
    value = copy.deepcopy(body)
    name = chance.choice(list(value))
    match chance.randrange(3):
        case 0:
            del value[name]
        case 1:
            value[name] = chance.choice(NASTY)
        case _:
            return [value]
    return value


def _request(path: str, body: bytes, kind: str = KINDS[0]) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def call(url: str, log: Path, count: int, seed: int = 0) -> Called:
    """Send malformed typed calls, and some whose clients leave."""
    faults = Counter[str]()
    for request in itertools.islice(cases(seed), count):
        reply = exchange(url, request)
        text = reply.body.decode(errors="replace")
        faults["without a response"] += reply.status <= 0
        faults["with status 5xx"] += reply.status >= 500
        faults["with details of a library"] += reply.status >= 400 and any(word in text for word in LEAKS)
        faults["errors of another shape"] += reply.status >= 400 and not reply.is_problem
    for number in range(LEAVERS):
        with connected(url) as connection:
            whole = _request("/translate", json.dumps(BODIES["/translate"]).encode())
            connection.sendall(whole[: len(whole) * (number + 1) // (LEAVERS + 1)])
    time.sleep(0.5)
    said = log.read_text(errors="replace")
    return Called(count, +faults, said.count("Traceback"))


def works(url: str) -> bool:
    """Return whether BentoML's own client can use the server."""
    import bentoml  # it warns when it is imported

    with bentoml.SyncHTTPClient(url) as client:
        images = [client.sample(model="pictures", seed=3), client.translate(model="styles", image=IMAGE)]
    return all(Image.open(io.BytesIO(image)).format == "PNG" for image in images)


def typed_calls(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Send malformed typed calls to our server and to a plain service of BentoML."""
    count, settings = 50_000 if long else 3000, Settings(artifacts=artifacts)
    with ours(settings, log := scratch / "ours") as (url, _):
        found, can = call(url, log, count), works(url)
        alive = httpx.get(f"{url}/readyz").status_code == 200
    with servers.by_bentoml(PLAIN, settings, log := scratch / "plain") as (url, _):
        plain = call(url, log, 300)
    return Finding(
        f"{count:,} malformed typed calls, and {LEAVERS} whose clients leave: no status 5xx, no traceback, "
        "no details of a library, and BentoML's own client works",
        f"{found}; the client {'works' if can else 'does not work'}",
        f"a plain service of BentoML: {plain}",
        not found.faults and not found.tracebacks and can and alive and plain.faults["with status 5xx"] > 0,
    )
