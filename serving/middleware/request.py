"""Request middleware: hosts, auth, deadline, request id, API errors, disconnects, access log and metrics."""

import asyncio
import itertools
import logging
import secrets
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.errors import APIError, is_out_of_memory, out_of_memory, shown, shutting_down
from serving.metrics import CACHE_HITS, count_request
from serving.middleware.access_log import AccessLog
from serving.middleware.answers import ASKED, PURE, Answer, Answers, Asked
from serving.middleware.auth import APIKeyAuth
from serving.middleware.exchange import Exchange
from serving.middleware.origins import AllowedHosts, CrossOrigin
from serving.middleware.protocol import LIMIT, refusal_of
from serving.middleware.request_limit import BUSY, GONE, BusyResponse
from serving.middleware.tracing import Tracing

logger = logging.getLogger("ganzoo")

HEALTH = ("/livez", "/readyz", "/v2/health/live", "/v2/health/ready")
"""Paths of health checks, which name no host of the server and are answered until its end."""

NEVER_BUSY = (*HEALTH, "/metrics")
"""Paths whose requests are not refused because too many wait."""

OPEN = (*HEALTH, "/", "/docs", "/docs.json")
"""Paths that require no API key: health, which names the models, and pages."""

OPEN_FILES = ("/static_content/", "/playground/")

GRACE = 0.25
"""Seconds that a request may take before its client is watched for a disconnect."""

POLL = 0.02
"""Seconds between two looks at the requests that are still answered when the server ends."""

ErrorBody = Callable[[APIError, str], bytes]


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
        hosts: checks the host of every request, except those for health.
        origins: lets web pages of some origins call the API.
        prefix: path below which a proxy serves the API; it is removed from paths that have it.
        deadline: maximum seconds for a response.
        log: the access log; None for no log.
        answers: memory of answers; None keeps none.
        tracing: traces of requests; None for none.
    """

    def __init__(
        self,
        app: ASGIApp,
        error_bodies: Mapping[str, ErrorBody],
        auth: APIKeyAuth | None = None,
        hosts: AllowedHosts | None = None,
        origins: CrossOrigin | None = None,
        prefix: str = "",
        deadline: float = 25.0,
        log: AccessLog | None = None,
        answers: Answers | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.app, self.deadline, self.log, self.answers = app, deadline, log, answers or Answers(0)
        self.tracing = tracing
        self.auth, self.hosts = auth or APIKeyAuth(()), hosts or AllowedHosts(())
        self.origins, self.prefix = origins or CrossOrigin(()), prefix
        self._error_bodies = {prefix: (body, BusyResponse(body)) for prefix, body in error_bodies.items()}
        self._is_shutting_down = False
        process = secrets.token_hex(6)
        self._ids = (f"{process}{number:010x}" for number in itertools.count())
        self._under_way: set[Exchange] = set()
        self._watcher: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, and respond to errors."""
        # With an app in the scope, Starlette raises HTTPException instead of responding with text.
        inner = {**scope, "app": self, "path": self._path(scope["path"])}
        exchange = Exchange(inner, receive, send, next(self._ids), self.origins)
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
            self._keep(exchange)
            self._under_way.remove(exchange)
            status, seconds = GONE if exchange.gone else exchange.status, time.perf_counter() - exchange.since
            self._note(exchange.id, exchange.scope, status, exchange.size, seconds)
            if self.tracing is not None:
                self.tracing.record(exchange.scope, exchange.headers, exchange.id, status, exchange.since)
            if limit := scope.get("state", {}).get(LIMIT):
                limit.leave(status)

    async def _try(self, exchange: Exchange) -> APIError | None:
        """Pass a request to the app, and return the API error if it fails."""
        scope = exchange.scope
        try:
            app = self._admit(exchange)
            async with asyncio.timeout(self.deadline):
                await app(scope, exchange.receive_noting_end, exchange.send_response)
        except APIError as api_error:
            return api_error
        except asyncio.CancelledError:
            if exchange.ended is None or exchange.task is None or exchange.task.uncancel() > 0:
                raise
            return exchange.ended
        except HTTPException as error:
            return _from_starlette(error, scope)
        except ClientDisconnect:
            exchange.gone = True
        except TimeoutError:
            return APIError(
                503, "too_late", f"the response was not ready within {self.deadline:g} s; try again later"
            )
        except Exception as error:
            if is_out_of_memory(error):
                return out_of_memory()
            logger.exception("request %s failed", exchange.id)
            return APIError(
                500, "internal_error", "internal server error; search the server's log for the request id"
            )
        return None

    def _path(self, path: str) -> str:
        """Return a path without the prefix; the prefix alone is the path of the page."""
        return path.removeprefix(self.prefix) if f"{path}/".startswith(f"{self.prefix}/") else path

    def _admit(self, exchange: Exchange) -> ASGIApp:
        """Check what can be checked of a request before it is routed, and return the app that answers it.

        Raises:
            APIError: the request is refused.
        """
        path, headers = exchange.scope["path"], exchange.headers
        if error := refusal_of(exchange.scope):
            raise error
        if path in HEALTH:
            return self.app
        if self._is_shutting_down:
            raise shutting_down()
        self.hosts.check(headers)
        if preflight := self.origins.preflight(exchange.scope["method"], headers):
            return preflight
        if not path:  # relative links of the page need the slash at its end
            return RedirectResponse(f"{self.prefix}/", 308)
        if path not in OPEN and not path.startswith(OPEN_FILES):
            self.auth.check(headers)
        return self.app

    def refuse(self, scope: Mapping[str, Any]) -> bytes | None:
        """Return the whole response to a request for which the process has no time; log and count it.

        Health checks and metrics are never refused: for them, it returns None.
        """
        path, method = self._path(scope["path"]), scope["method"]
        if path in NEVER_BUSY:
            return None
        request, (_, response) = next(self._ids), self._errors(path)
        size = 0 if method == "HEAD" else response.size
        self._note(request, {"method": method, "path": path}, BUSY, size, 0.0)
        return response.to(method, request, self.origins.readable(Headers(raw=scope["headers"])))

    def recall(self, asked: Asked, raw: list[tuple[bytes, bytes]]) -> bytes | None:
        """Return the whole response to a request if it is kept in memory; log and count it.

        Args:
            asked: what identifies the request.
            raw: its headers.
        """
        since, headers = time.perf_counter(), Headers(raw=raw)
        answer = self.answers.find(self._key(asked, headers))
        if answer is None or self._is_shutting_down or "if-none-match" in headers:
            return None
        try:
            self.hosts.check(headers)
            self.auth.check(headers)
        except APIError:
            return None  # the app refuses it
        CACHE_HITS.inc()
        response = answer.to(request := next(self._ids), self.origins.added(headers), since)
        self._note(request, answer.scope, 200, len(answer.body), time.perf_counter() - since)
        if self.tracing is not None:
            self.tracing.record(answer.scope, headers, request, 200, since)
        return response

    def _keep(self, exchange: Exchange) -> None:
        """Keep the response to a request in memory, if it depends on nothing else."""
        asked, is_current = exchange.scope.get("state", {}).get(ASKED), exchange.scope.get(PURE)
        if asked and is_current and exchange.status == 200 and exchange.whole is not None:
            answer = Answer.of(exchange.said, exchange.whole, exchange.scope, is_current)
            self.answers.keep(self._key(asked, exchange.headers), asked, answer)

    def _key(self, asked: Asked, headers: Headers) -> Hashable:
        """Return what an answer is kept under; an answer is never that of a request with another API key."""
        return (asked, self.auth.key_in(headers)) if self.auth.is_on else asked

    async def drain(self) -> None:
        """Refuse new requests, end those whose bodies are not complete, and wait for the others."""
        self._is_shutting_down = True
        for exchange in self._under_way:
            exchange.end(shutting_down())
        while any(exchange.scope["path"] not in HEALTH for exchange in self._under_way):
            await asyncio.sleep(POLL)

    async def _send_error(self, api_error: APIError, exchange: Exchange) -> None:
        headers = {"Cache-Control": "no-store", **api_error.headers}
        if api_error.status in (BUSY, 503):
            headers["Retry-After"] = "1"
        if api_error.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        await exchange.discard()
        if not exchange.read or self._is_shutting_down or refusal_of(exchange.scope):
            headers["Connection"] = "close"  # the rest of the request has not been read, or can't be
        body, _ = self._errors(exchange.scope["path"])
        response = Response(body(api_error, exchange.id), api_error.status, headers, "application/json")
        await response(exchange.scope, exchange.receive_noting_end, exchange.send_response)

    def _errors(self, path: str) -> tuple[ErrorBody, BusyResponse]:
        """Return the function of error bodies of a path, and the response of a refusal."""
        return next(each for prefix, each in self._error_bodies.items() if path.startswith(prefix))

    def _note(self, request: str, scope: Mapping[str, Any], status: int, size: int, seconds: float) -> None:
        """Record a completed request in the metrics and the access log."""
        route = getattr(scope.get("endpoint"), "__name__", "other")
        model = scope.get("model", "")
        count_request(route, model, status, seconds)
        if self.log is not None:
            self.log(
                time=round(time.time(), 3),
                id=request,
                method=scope["method"],
                path=scope["path"],
                route=route,
                model=model,
                status=status,
                bytes=size,
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
