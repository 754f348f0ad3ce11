"""The guard by itself, before small apps, and what it tells the log and the metrics."""

import asyncio
import json
import os

import httpx
import pytest
from starlette.responses import Response

from serving.api.app import ERROR_BODIES
from serving.errors import APIError
from serving.middleware.access_log import AccessLog
from serving.middleware.auth import APIKeyAuth
from serving.middleware.request import RequestMiddleware
from serving.system.output import Output


async def fine(scope, receive, send):
    await Response("fine")(scope, receive, send)


def answer(guard: RequestMiddleware, path: str = "/v1/models", **options) -> httpx.Response:
    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(app=guard)
        async with httpx.AsyncClient(transport=transport, base_url="http://zoo") as client:
            return await client.get(path, **options)

    return asyncio.run(go())


KEYS = APIKeyAuth(["first", "zwe\u00efte", "voil\u00e0"])


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer first"},
        {"authorization": "bearer  first "},
        {"X-API-Key": "first"},
        {"X-API-Key": "zwe\u00efte".encode()},
        {"X-API-Key": "voil\u00e0".encode()},
    ],
)
def test_either_key_opens(headers):
    assert answer(RequestMiddleware(fine, ERROR_BODIES, KEYS), headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic first"},
        {"Authorization": "first"},
        {"X-API-Key": ""},
        {"X-API-Key": b"\xff\xfe"},
        {"X-API-Key": "first,zwe"},
    ],
)
def test_no_other_does(headers):
    refused = answer(RequestMiddleware(fine, ERROR_BODIES, KEYS), headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "unauthorized")
    assert refused.headers["www-authenticate"] == "Bearer"


def test_health_and_pages_stay_open():
    guard = RequestMiddleware(fine, ERROR_BODIES, KEYS)
    for path in ("/livez", "/readyz", "/v2/health/live", "/docs", "/docs.json", "/static_content/any.css"):
        assert answer(guard, path).status_code == 200
    for path in ("/metrics", "/v2", "/livez/", "/v1/models/x"):
        assert answer(guard, path).status_code == 401


def test_every_answer_has_an_id_of_its_own():
    guard = RequestMiddleware(fine, ERROR_BODIES)
    ids = [answer(guard).headers["x-request-id"] for _ in range(3)]
    assert len(set(ids)) == 3
    assert all(len(each) == 22 and each[:12] == ids[0][:12] for each in ids)


def test_the_protocols_own_shape_under_its_own_paths():
    async def refuse(scope, receive, send):
        raise APIError(404, "unknown_model", "there is none")

    ours, theirs = (
        answer(RequestMiddleware(refuse, ERROR_BODIES), path).json() for path in ("/v1/x", "/v2/x")
    )
    assert ours["error"]["message"] == theirs["error"] == "there is none"


def test_a_line_is_written_for_each_request_and_stays_one():
    read, write = os.pipe()
    output = Output(write)
    log = AccessLog(output)

    async def go():
        transport = httpx.ASGITransport(app=RequestMiddleware(fine, ERROR_BODIES, log=log))
        async with httpx.AsyncClient(transport=transport, base_url="http://zoo") as client:
            await client.get('/a%0a{"forged": 1}')
            await client.get("/" + "b" * 5000)
        log.flush()
        output.flush()

    asyncio.run(go())
    os.close(write)
    first, second = (json.loads(line) for line in os.read(read, 9000).splitlines())
    os.close(read)
    assert (first["path"], first["status"], first["method"]) == ('/a\n{"forged": 1}', 200, "GET")
    assert first["bytes"] == 4
    assert len(second["path"]) == 500
    assert first["id"] != second["id"]


@pytest.mark.parametrize(("pieces", "closed"), [(3, False), (40, True)])
def test_what_is_left_of_a_refused_request_is_taken_in_if_it_is_little(pieces, closed):
    """Who is cut off while sending may not hear the answer; who sends without end is cut off."""
    left, sent = [b"x" * 50_000] * pieces, []

    async def refuse(scope, receive, send):
        raise APIError(429, "busy", "no")

    async def receive():
        piece = left.pop()
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/x", "headers": []}
    asyncio.run(RequestMiddleware(refuse, ERROR_BODIES)(scope, receive, send))
    assert sent[0]["status"] == 429
    assert ((b"connection", b"close") in sent[0]["headers"]) == closed
    assert bool(left) == closed


def ask_app(app) -> int:
    """Send a request with a body for which there is no memory; return the status."""
    sent = []

    async def receive():
        raise MemoryError

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/x", "headers": []}
    asyncio.run(RequestMiddleware(app, ERROR_BODIES)(scope, receive, send))
    return sent[0]["status"]


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (MemoryError(), 503),
        (RuntimeError("can't start new thread"), 503),
        (RuntimeError("something else"), 500),
    ],
)
def test_want_of_memory_is_told_from_a_fault(error, wanted):
    async def fail(scope, receive, send):
        raise error

    assert ask_app(fail) == wanted


@pytest.mark.parametrize("header", [(b"expect", b"100-continue"), (b"content-length", b"99999999")])
def test_who_asks_before_sending_or_means_to_send_much_is_told_at_once(header):
    async def refuse(scope, receive, send):
        raise APIError(401, "unauthorized", "no")

    async def receive():
        raise AssertionError("nothing is to be read")

    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/x", "headers": [header]}
    asyncio.run(RequestMiddleware(refuse, ERROR_BODIES)(scope, receive, send))
    assert sent[0]["status"] == 401
    assert (b"connection", b"close") in sent[0]["headers"]


def test_whoever_leaves_is_not_worked_for():
    """The app is cancelled; the control, whose client stays, is not."""
    ended = []

    async def slow(scope, receive, send):
        await receive()
        try:
            await asyncio.sleep(1)
            ended.append("done")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        await Response("late")(scope, receive, send)

    async def visit(leaves: bool) -> list:
        sent, messages = [], [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive():
            if messages:
                return messages.pop()
            await asyncio.sleep(0.1 if leaves else 60)
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
        await RequestMiddleware(slow, ERROR_BODIES)(scope, receive, send)
        return sent

    assert asyncio.run(visit(leaves=True)) == []
    assert asyncio.run(visit(leaves=False))[0]["type"] == "http.response.start"
    assert ended == ["cancelled", "done"]


def test_what_the_limit_refuses_is_logged_and_has_the_shape_of_its_path():
    logged = []
    middleware = RequestMiddleware(fine, ERROR_BODIES, prefix="/gan", log=lambda **line: logged.append(line))

    def refuse(path: str, method: str = "GET") -> tuple[int, bytes]:
        response = middleware.refuse({"method": method, "path": path, "headers": []})
        head, _, body = response.partition(b"\r\n\r\n")
        return int(head.split()[1]), body

    assert refuse("/v1/models", "HEAD") == (429, b"")
    status, body = refuse("/gan/v1/models")
    assert (status, json.loads(body)["error"]["code"]) == (429, "busy")
    status, body = refuse("/v2/models/pictures/infer", "POST")
    assert (status, json.loads(body)["code"]) == (429, "busy")
    assert json.loads(body)["request_id"] == logged[-1]["id"]
    assert [line["path"] for line in logged] == ["/v1/models", "/v1/models", "/v2/models/pictures/infer"]
    assert [line["bytes"] > 0 for line in logged] == [False, True, True]


@pytest.mark.parametrize("path", ["/livez", "/v2/health/ready", "/metrics", "/gan/livez", "/gan/metrics"])
def test_health_checks_and_metrics_are_never_refused(path):
    middleware = RequestMiddleware(fine, ERROR_BODIES, prefix="/gan")
    assert middleware.refuse({"method": "GET", "path": path, "headers": []}) is None
