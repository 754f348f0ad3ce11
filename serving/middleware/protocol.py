"""HTTP/1.1 connections: uvicorn's protocol with bounds on headers, and with errors that look like all others.

A request that can't be parsed, or that exceeds a bound, goes to the app like every other request, with the
error in its scope. The app's middleware answers, logs and counts it.
"""

import asyncio
from typing import Any, ClassVar
from urllib.parse import unquote

import httptools
from starlette.types import Message, Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from serving.errors import APIError, out_of_memory
from serving.middleware.request_limit import GONE, RequestLimit
from serving.system.sockets import bytes_held

REFUSED = "ganzoo.refused"
"""Key in a scope's state of the API error of a request that can't be handled."""

LIMIT = "ganzoo.limit"
"""Key in a scope's state of the limit that counts the request until its work is over."""

MAX_HEADERS, MAX_HEAD = 100, 2**15
"""Maximum number of headers, and maximum bytes of a request line with its headers, or of trailers."""

HEAD_SECONDS = 10.0
"""Maximum seconds until the headers of a request are complete, and of a connection without a request."""

TAKE_SECONDS, TAKE_LOOKS = 20.0, 10
"""Maximum seconds in which a client takes nothing of its responses, and how often this is looked at."""

MAX_PIPELINED = 16
"""Maximum number of requests that wait for another one on the same connection."""

LINGER_SECONDS = 0.5
"""Seconds for which the rest of a refused request is read, so that its client gets the answer."""


class BoundedProtocol(HttpToolsProtocol):
    """A connection whose requests have bounded headers, and whose errors are answered by the app."""

    limit: ClassVar[RequestLimit]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer of the first request."""
        super().connection_made(transport)
        self._waiting = self._size = self._count = 0
        self._is_in_head, self._is_over = True, False
        self._is_refused = False
        self._running: RequestResponseCycle | None = None
        self._timer: asyncio.TimerHandle | None = self.loop.call_later(HEAD_SECONDS, self._give_up)
        self._taking: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers, and drop the requests that wait for another one on this connection."""
        self._stop_timer()
        if self._taking is not None:
            self._taking.cancel()
        if self._running is not None:  # uvicorn tells the last request only
            self._running.disconnected = True
            self._running.message_event.set()
        while self.pipeline:
            cycle, _ = self.pipeline.pop()
            if LIMIT in cycle.scope["state"]:
                self.limit.leave(GONE)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived; after an error, drop it."""
        if self._is_over:
            return
        self._waiting += len(data)
        try:
            self.parser.feed_data(data)
            if self._waiting > MAX_HEAD:
                raise _too_large()
        except httptools.HttpParserUpgrade:
            self._close_after_response()
        except APIError as error:
            self._refuse(error)
        except httptools.HttpParserError as error:
            self._refuse(_cause_of(error))
        except MemoryError:
            self._refuse(out_of_memory())

    def on_message_begin(self) -> None:
        """Start the count and the timer of a request's headers."""
        self._unset_keepalive_if_required()
        super().on_message_begin()
        self._size, self._count, self._is_in_head = 0, 0, True
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def on_url(self, url: bytes) -> None:
        """Count a part of the URL."""
        self._add(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header; trailers, which come after the body, are counted and dropped."""
        self._count += 1
        self._add(len(name) + len(value))
        if self._is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Pass the request to the app."""
        self._end_head()
        if len(self.pipeline) >= MAX_PIPELINED:
            raise APIError(429, "busy", f"at most {MAX_PIPELINED} requests may be pipelined; got more")
        self._is_refused = self.limit.is_reached and self._is_refused_at_once()
        if not self._is_refused:
            super().on_headers_complete()

    def _end_head(self) -> None:
        """End the count and the timer of a request's headers."""
        self._stop_timer()
        self._waiting = self._size = self._count = 0
        self._is_in_head = False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body to the app."""
        self._waiting = 0
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Pass the end of the body to the app; from now on the request counts as waiting."""
        self._waiting = 0
        if self._is_refused:
            return
        super().on_message_complete()
        if not self.cycle.response_complete:
            self.cycle.scope["state"][LIMIT] = self.limit
            self.limit.enter()

    def on_response_complete(self) -> None:
        """Go on with the next request."""
        super().on_response_complete()
        self._watch_taking()

    def pause_writing(self) -> None:
        """Let the app wait until the client has taken what is sent to it."""
        super().pause_writing()
        self._watch_taking()

    def resume_writing(self) -> None:
        """Let the app go on."""
        super().resume_writing()
        self._watch_taking()

    def _watch_taking(self) -> None:
        """Start to watch a client that has not taken all yet; closing the connection would wait for it."""
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None
        if self.transport.get_write_buffer_size():
            self._look_at_taking(self._untaken(), self.loop.time())

    def _look_at_taking(self, least: int, since: float) -> None:
        """End the connection if its client has taken nothing for too long; else look again later."""
        untaken, now = self._untaken(), self.loop.time()
        if untaken < least:
            least, since = untaken, now
        if now - since >= TAKE_SECONDS:
            self.transport.abort()
            return
        self._taking = self.loop.call_later(TAKE_SECONDS / TAKE_LOOKS, self._look_at_taking, least, since)

    def _untaken(self) -> int:
        """Return the bytes that wait here and in the system until the client takes them."""
        return self.transport.get_write_buffer_size() + bytes_held(self.transport.get_extra_info("socket"))

    def _is_refused_at_once(self) -> bool:
        """Refuse a request before anything is made for it, unless another one is under way before it."""
        if self.cycle is not None and not self.cycle.response_complete:
            return False
        path = unquote(httptools.parse_url(self.url).path.decode("ascii"))
        method = self.parser.get_method().decode("ascii")
        refusal = self.limit.refusal({"method": method, "path": path, "headers": self.headers})
        if refusal is None:
            return False
        self.respond(refusal)
        return True

    def respond(self, response: bytes) -> None:
        """Send a whole response without the app."""
        self.transport.write(response)
        if not self.parser.should_keep_alive():
            self.transport.close()
        self.on_response_complete()

    def _add(self, size: int) -> None:
        self._size += size
        if self._count > MAX_HEADERS or self._size > MAX_HEAD:
            raise _too_large()

    def _should_upgrade(self) -> bool:
        return False

    def _close_after_response(self) -> None:
        """Answer a request to upgrade the connection as what it also is; what follows it is no HTTP."""
        self._is_over = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    def _give_up(self) -> None:
        self._timer = None
        if self._waiting == 0:
            self.transport.close()
        else:
            self._refuse(APIError(408, "too_slow", f"the headers must arrive within {HEAD_SECONDS:g} s"))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, error: APIError) -> None:
        """Answer with an error and close the connection."""
        self._is_over = True
        self._stop_timer()
        if self.cycle is None or self.cycle.response_complete:
            task = self.loop.create_task(self._respond(error))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            return
        self.cycle.scope["state"][REFUSED] = error
        self.cycle.keep_alive, self.cycle.more_body = False, False
        self.cycle.message_event.set()

    async def _respond(self, error: APIError) -> None:
        """Let the app answer a request that could not be parsed, and close the connection."""
        scope: Scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "",
            "path": "",
            "query_string": b"",
            "headers": [],
            "client": self.client,
            "state": {REFUSED: error},
        }

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                lines = [b"%s: %s\r\n" % header for header in message["headers"]]
                self.transport.write(b"".join([STATUS_LINE[message["status"]], *lines, b"\r\n"]))
            else:
                self.transport.write(message.get("body", b""))

        try:
            await self.app(scope, receive, send)
            await asyncio.sleep(LINGER_SECONDS)
        finally:
            self.transport.close()


def refusal_of(scope: Scope) -> APIError | None:
    """Return the error of a request that can't be handled; None if it can."""
    error: APIError | None = scope.get("state", {}).get(REFUSED)
    return error


def _bad_request() -> APIError:
    return APIError(400, "bad_request", "the request must be valid HTTP/1.1; it can't be parsed")


def _cause_of(error: httptools.HttpParserError) -> APIError:
    """Return why a request can't be handled; the parser wraps what its callbacks raise."""
    cause = error.__context__
    if isinstance(cause, MemoryError):
        return out_of_memory()
    return cause if isinstance(cause, APIError) else _bad_request()


def _too_large() -> APIError:
    text = f"the headers and the URL must have at most {MAX_HEADERS} lines and {MAX_HEAD} bytes; got more"
    return APIError(431, "headers_too_large", text)
