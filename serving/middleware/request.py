"""Request middleware: auth, deadline, request id, API errors, disconnects, access log and metrics."""

import asyncio
import contextlib
import itertools
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import APIError, shown
from serving.metrics import count_request
from serving.middleware.access_log import AccessLog
from serving.middleware.auth import APIKeyAuth

logger = logging.getLogger("ganzoo")

OPEN = ("/livez", "/readyz", "/v2/health/live", "/v2/health/ready", "/", "/docs", "/docs.json")
"""Paths that require no API key: health, which names the models, and pages."""

OPEN_FILES = ("/static_content/", "/playground/")

GONE = 499
"""Status in the log if a client disconnects before the response, as in nginx."""

GRACE = 0.25
"""Seconds that a request may take before its client is watched for a disconnect."""

DISCARD_SECONDS, DISCARD_BYTES = 1.0, 2**20
"""Maximum seconds and bytes for reading the rest of a request that has failed."""

ErrorBody = Callable[[APIError, str], bytes]


@dataclass(eq=False)
class Exchange:
    """A request and its response in progress."""

    scope: Scope
    receive: Receive
    send: Send
    id: str
    task: "asyncio.Task[Any] | None" = field(default_factory=asyncio.current_task)
    since: float = field(default_factory=time.perf_counter)
    status: int = 0
    size: int = 0
    gone: bool = False
    over: bool = False
    read: bool = False

    def __post_init__(self) -> None:
        self.read = self.scope["method"] in ("GET", "HEAD")  # their bodies are never read

    async def receive_noting_end(self) -> Message:
        """Receive a message of the request, and record the end of the body."""
        message = await self.receive()
        self.read = not message.get("more_body", False)
        return message

    async def discard(self) -> None:
        """Read the rest of the request, if it is small and arrives soon.

        A client that is disconnected while it sends may miss the response. A client that sends an `Expect`
        header waits for the response before it sends the body, so nothing is read.
        """
        headers, size = Headers(scope=self.scope), 0
        declared = headers.get("content-length", "0")
        if "expect" in headers or (declared.isdecimal() and int(declared[:20]) > DISCARD_BYTES):
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DISCARD_SECONDS):
                while not self.read and size < DISCARD_BYTES:
                    size += len((await self.receive_noting_end()).get("body", b""))

    async def send_response(self, message: Message) -> None:
        """Send a message of the response with the request's id, and record its status and size."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], (b"x-request-id", self.id.encode())]
        else:
            self.size += len(message.get("body", b""))
        await self.send(message)

    async def wait_for_disconnect(self) -> None:
        """Wait until the client disconnects, then cancel its request if no response has started."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
        if self.status == 0 and self.task is not None and not self.over:
            self.gone = True
            self.task.cancel()


def _from_starlette(error: HTTPException, scope: Scope) -> APIError:
    """Convert an error of Starlette's router to an API error."""
    status, headers = error.status_code, dict(error.headers or {})
    match status:
        case 404:
            code, text = "not_found", "there is nothing at this URL; /docs lists the API"
        case 405:
            allowed = headers.get("Allow", "another one")
            code, text = "method_not_allowed", f"the method must be {allowed}; got {shown(scope['method'])}"
        case _:
            code, text = "bad_request", error.detail
    return APIError(status, code, text, headers=headers)


class RequestMiddleware:
    """Middleware around the whole app: auth, deadline, error responses, access log and metrics.

    Every response has a request id, which is also in the log.

    Args:
        app: the ASGI app, which raises `APIError` for error responses.
        error_bodies: functions that return the body of an error response, by path prefix; the last is for
            all other paths.
        auth: checks the API key of every request, except those for health, pages and their files.
        deadline: maximum seconds for a response.
        log: the access log; None for no log.
    """

    def __init__(
        self,
        app: ASGIApp,
        error_bodies: Mapping[str, ErrorBody],
        auth: APIKeyAuth | None = None,
        deadline: float = 25.0,
        log: AccessLog | None = None,
    ) -> None:
        self.app, self.error_bodies, self.deadline, self.log = app, error_bodies, deadline, log
        self.auth = auth or APIKeyAuth(())
        process = secrets.token_hex(6)
        self._ids = (f"{process}{number:010x}" for number in itertools.count())
        self._under_way: set[Exchange] = set()
        self._watcher: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, and respond to errors."""
        # With an app in the scope, Starlette raises HTTPException instead of responding with text.
        exchange = Exchange({**scope, "app": self}, receive, send, next(self._ids))
        self._under_way.add(exchange)
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch_clients())
        try:
            api_error = await self._try(exchange)
            if api_error is not None and exchange.status == 0:
                await self._send_error(api_error, exchange)
        except asyncio.CancelledError:
            if not exchange.gone or exchange.task is None or exchange.task.uncancel() > 0:
                raise
        finally:
            exchange.over = True
            self._under_way.remove(exchange)
            self._note(exchange)

    async def _try(self, exchange: Exchange) -> APIError | None:
        """Pass a request to the app, and return the API error if it fails."""
        scope = exchange.scope
        try:
            if scope["path"] not in OPEN and not scope["path"].startswith(OPEN_FILES):
                self.auth.check(Headers(scope=scope))
            async with asyncio.timeout(self.deadline):
                await self.app(scope, exchange.receive_noting_end, exchange.send_response)
        except APIError as api_error:
            return api_error
        except HTTPException as error:
            return _from_starlette(error, scope)
        except ClientDisconnect:
            exchange.gone = True
        except TimeoutError:
            return APIError(
                503, "too_late", f"the response was not ready within {self.deadline:g} s; try again later"
            )
        except Exception:
            logger.exception("request %s failed", exchange.id)
            return APIError(
                500, "internal_error", "internal server error; search the server's log for the request id"
            )
        return None

    async def _send_error(self, api_error: APIError, exchange: Exchange) -> None:
        headers = {"Cache-Control": "no-store", **api_error.headers}
        if api_error.status in (429, 503):
            headers["Retry-After"] = "1"
        if api_error.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        await exchange.discard()
        if not exchange.read:
            headers["Connection"] = "close"  # the rest of the request has not been read
        shape = next(
            shape for prefix, shape in self.error_bodies.items() if exchange.scope["path"].startswith(prefix)
        )
        response = Response(shape(api_error, exchange.id), api_error.status, headers, "application/json")
        await response(exchange.scope, exchange.receive_noting_end, exchange.send_response)

    def _note(self, exchange: Exchange) -> None:
        """Record a completed request in the metrics and the access log."""
        seconds = time.perf_counter() - exchange.since
        status = GONE if exchange.gone else exchange.status
        scope = exchange.scope
        route = getattr(scope.get("endpoint"), "__name__", "other")
        model = scope.get("model", "")
        count_request(route, model, status, seconds)
        if self.log is not None:
            self.log(
                time=round(time.time(), 3),
                id=exchange.id,
                method=scope["method"],
                path=scope["path"],
                route=route,
                model=model,
                status=status,
                bytes=exchange.size,
                ms=round(1e3 * seconds, 2),
            )

    async def _watch_clients(self) -> None:
        """Watch the clients of slow requests, and cancel the requests of those that disconnect."""
        watched: dict[Exchange, asyncio.Task[None]] = {}
        while self._under_way:
            await asyncio.sleep(GRACE)
            now = time.perf_counter()
            for exchange in self._under_way - watched.keys():
                if exchange.read and exchange.status == 0 and now - exchange.since > GRACE:
                    watched[exchange] = asyncio.create_task(exchange.wait_for_disconnect())
            for exchange in watched.keys() - self._under_way:
                watched.pop(exchange).cancel()
        for task in watched.values():
            task.cancel()
