import asyncio
import json
import socket
import time
from contextlib import asynccontextmanager

import httptools
import pytest
import uvicorn

from serving.api.responses import error_body
from serving.middleware.protocol import BoundedProtocol
from serving.middleware.request_limit import (
    BURST,
    BUSY,
    CALM_SECONDS,
    GONE,
    QUEUE,
    QUEUE_SECONDS,
    WINDOW,
    BusyResponse,
    RequestLimit,
)

PATH, HEALTH = {"path": "/x"}, {"path": "/livez"}


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by its first item."""
    now = [time.perf_counter()]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def is_refused(limit: RequestLimit, scope: dict[str, str] = PATH) -> bool:
    return limit.is_reached and limit.refusal(scope) is not None


def limit_of(count: int, most: float = 0.0) -> RequestLimit:
    limit = RequestLimit(lambda scope: None if scope == HEALTH else scope["path"].encode(), most)
    for _ in range(count):
        limit.enter()
    return limit


def test_a_burst_is_never_refused():
    assert not limit_of(BURST - 1).is_reached


def test_more_are_refused_but_not_health_checks():
    limit = limit_of(BURST)
    assert limit.is_reached
    assert limit.refusal(PATH) == b"/x"
    assert limit.refusal(HEALTH) is None


def test_after_a_refusal_only_few_may_wait_until_all_is_calm(clock):
    limit = limit_of(BURST)
    assert is_refused(limit)
    for _ in range(BURST - QUEUE):
        limit.leave(200)
    assert is_refused(limit)
    limit.leave(200)
    assert not is_refused(limit)
    limit.enter()
    clock[0] += CALM_SECONDS + 0.1
    assert not is_refused(limit)


def test_after_a_refusal_by_the_app_only_few_may_wait():
    limit = limit_of(BURST)
    limit.leave(GONE)
    assert not limit.is_reached, "the control"
    limit.leave(BUSY)
    assert limit.is_reached


@pytest.mark.parametrize("status", [200, BUSY, GONE])
def test_a_process_that_answers_fast_lets_more_wait_but_not_one_that_refuses(clock, status):
    limit = limit_of(4 * BURST)
    assert is_refused(limit), "the control"
    step = QUEUE_SECONDS / BURST / 10
    for _ in range(round(3 * WINDOW / step)):
        clock[0] += step
        limit.leave(status)
        limit.enter()
    assert is_refused(limit) == (status != 200)


def test_a_given_maximum_is_the_only_rule(clock):
    limit = limit_of(BURST, most=1)
    assert not limit.is_reached
    limit.leave(BUSY)
    limit.enter()
    assert not limit.is_reached, "after a refusal"
    for _ in range(round(QUEUE / QUEUE_SECONDS) - BURST):
        limit.enter()
    assert limit.is_reached, "by the pace that is assumed at first"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_refusal_is_a_whole_response_with_its_own_id(method):
    refusal, heads, bodies = BusyResponse(error_body), {}, [b""]

    class Client:
        def on_header(self, name, value):
            heads[name.decode().lower()] = value.decode()

        def on_body(self, body):
            bodies.append(body)

    parser = httptools.HttpResponseParser(Client())
    parser.feed_data(refusal.to(method, "a" * 22, {"Access-Control-Allow-Origin": "*"}))
    assert parser.get_status_code() == 429
    assert heads["x-request-id"] == "a" * 22
    assert (heads["access-control-allow-origin"], heads["retry-after"]) == ("*", "1")
    assert refusal.size == int(heads["content-length"])
    body = b"".join(bodies)
    assert body == b"" if method == "HEAD" else json.loads(body)["request_id"] == "a" * 22


class Full(BoundedProtocol):
    """A connection to a process that has no place for a request."""

    limit = RequestLimit(lambda scope: refusal_to(scope))


def refusal_to(scope) -> bytes | None:
    if scope["path"] == "/livez":
        return None
    text = f"{scope['method']} {scope['path']}".encode()
    return b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: %d\r\n\r\n" % len(text) + text


async def hello(scope, receive, send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


@asynccontextmanager
async def connected(app, protocol, **options):
    """A connection to a server of an app in this process."""
    config = uvicorn.Config(app, http=protocol, lifespan="off", log_level="critical", **options)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        yield reader, writer
        writer.close()
        server.should_exit = True
        await serving


POST = b"POST /v1/models/pictures/sample HTTP/1.1\r\nHost: zoo\r\nContent-Length: 4\r\n\r\n"
GET = b"GET /livez HTTP/1.1\r\nHost: zoo\r\n\r\n"


def test_without_a_place_a_request_is_refused_before_its_body_and_the_connection_goes_on(monkeypatch):
    monkeypatch.setattr(Full.limit, "_count", BURST)

    async def go() -> list[bytes]:
        async with connected(hello, Full) as (reader, writer):
            answers = []
            for part in (
                POST,
                b"body" + GET,
                b"GET /a%20b?c HTTP/1.1\r\nHost: zoo\r\nConnection: close\r\n\r\n",
            ):
                writer.write(part)
                answers.append(await asyncio.wait_for(reader.read(2**16), 5))
            assert await asyncio.wait_for(reader.read(), 5) == b"", "closed, as asked"
        return answers

    first, alive, last = asyncio.run(go())
    assert first.endswith(b"POST /v1/models/pictures/sample")
    assert alive.startswith(b"HTTP/1.1 200")
    assert last.endswith(b"GET /a b")


@pytest.mark.parametrize("parts", [[GET, b"\r\n"], [POST, b"bo"], [POST, b"body"], [POST, *[b"x"] * 4]])
def test_an_idle_connection_is_closed_whatever_came_before(monkeypatch, parts):
    monkeypatch.setattr(Full.limit, "_count", BURST)

    async def go() -> None:
        async with connected(hello, Full, timeout_keep_alive=0.3) as (reader, writer):
            for part in parts:
                writer.write(part)
                await asyncio.sleep(0.02)
            await asyncio.wait_for(reader.read(), 2)

    asyncio.run(go())


def test_a_connection_that_ends_takes_all_its_requests_along(monkeypatch):
    class Free(BoundedProtocol):
        limit = RequestLimit(lambda scope: b"")

    started = []

    async def stuck(scope, receive, send) -> None:
        started.append(scope)
        while (await receive())["type"] != "http.disconnect":
            pass
        Free.limit.leave(GONE)  # as the middleware does

    async def go() -> None:
        async with connected(stuck, Free) as (_, writer):
            writer.write(10 * GET)
            while Free.limit._count < 10:
                await asyncio.sleep(0.01)
            writer.close()
            await asyncio.sleep(0.1)

    asyncio.run(asyncio.wait_for(go(), 10))
    assert (len(started), Free.limit._count) == (1, 0)
