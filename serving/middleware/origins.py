"""Hosts and origins: which names the server answers to, and whose web pages may call it."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Message, Send

from serving.errors import APIError, shown

ASKED = ("Authorization", "Content-Type", "If-None-Match", "Inference-Header-Content-Length", "X-API-Key")
"""Headers that pages of other origins may send."""

TOLD = (
    *("ETag", "Inference-Header-Content-Length", "Retry-After", "Server-Timing"),
    *("X-Direction", "X-Model-Version", "X-Provenance", "X-Request-Id", "X-Seed"),
)
"""Headers of responses that pages of other origins may read."""


class AllowedHosts:
    """The hosts that requests may name; without any, all are allowed.

    A page can point a name of its own at this server's address (DNS rebinding). Its browser then takes the
    server for the page's own, but names the page's host.

    Args:
        hosts: names and addresses without a port; a leading `*.` allows every subdomain.
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        self._names = frozenset(host.lower() for host in hosts)
        self._suffixes = tuple(host[1:].lower() for host in hosts if host.startswith("*."))

    def check(self, headers: Headers) -> None:
        """Check the Host header of a request.

        Raises:
            APIError: `unknown_host` (421), the host is not allowed.
        """
        if not self._names:
            return
        said = headers.get("host", "").lower()
        host = said[1:].partition("]")[0] if said.startswith("[") else said.partition(":")[0]
        host = host.removesuffix(".")
        if host not in self._names and not (self._suffixes and host.endswith(self._suffixes)):
            raise APIError(421, "unknown_host", f"the host must be one of this server's; got {shown(said)}")


class CrossOrigin:
    """Cross-origin resource sharing (CORS): pages of some origins may call the API from a browser.

    Args:
        origins: origins such as https://example.org; `*` allows all.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._cors = CORSMiddleware(
            _nothing,
            allow_origins=origins,
            allow_methods=("GET", "POST"),
            allow_headers=ASKED,
            expose_headers=TOLD,
        )
        self._is_on = bool(origins)

    def preflight(self, method: str, headers: Headers) -> Response | None:
        """Return the response to a browser's question whether a page may send a request; else None.

        Raises:
            APIError: `forbidden_origin` (403), it may not.
        """
        asked = {"origin", "access-control-request-method"} <= set(headers.keys())
        if not self._is_on or method != "OPTIONS" or not asked:
            return None
        answer = self._cors.preflight_response(headers)
        if answer.status_code >= 400:
            origin = shown(headers.get("origin", ""))
            raise APIError(403, "forbidden_origin", f"pages of the origin {origin} may not send this request")
        allowed = {name: value for name, value in answer.headers.items() if not name.startswith("content-")}
        return Response(status_code=204, headers=allowed)

    async def send(self, message: Message, send: Send, headers: Headers) -> None:
        """Send a message of a response, with the headers that let a page of an allowed origin read it."""
        if self._is_on:
            await self._cors.send(message, send, headers)
        else:
            await send(message)

    def added(self, headers: Headers) -> Mapping[str, str]:
        """Return the headers that `send` adds to the response to a request."""
        if not self._is_on:
            return {}
        message: Message = {"type": "http.response.start", "headers": []}
        with suppress(StopIteration):  # Starlette's method is asynchronous, and waits only for what it calls
            self._cors.send(message, _nothing, headers).send(None)
        return {name.decode(): value.decode("latin-1") for name, value in message["headers"]}

    def readable(self, headers: Headers) -> Mapping[str, str]:
        """Return the headers that let a request's page read a response that is not stored, if it may."""
        origin = headers.get("origin") if self._is_on else None
        if origin is None or not self._cors.is_allowed_origin(origin):
            return {}
        return {"Access-Control-Allow-Origin": origin, **self._cors.simple_headers}


async def _nothing(*_: object) -> None:
    """Stand for the app of Starlette's middleware, of which only the methods are used."""
