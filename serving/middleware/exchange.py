"""A request and its response in progress."""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from serving.errors import APIError
from serving.middleware.origins import CrossOrigin
from serving.middleware.protocol import LINGER_SECONDS, refusal_of

DISCARD_SECONDS, DISCARD_BYTES = 1.0, 2**20
"""Maximum seconds and bytes for reading the rest of a request that has failed."""


@dataclass(eq=False)
class Exchange:
    """A request and its response in progress."""

    scope: Scope
    receive: Receive
    send: Send
    id: str
    origins: CrossOrigin
    task: "asyncio.Task[Any] | None" = field(default_factory=asyncio.current_task)
    since: float = field(default_factory=time.perf_counter)
    status: int = 0
    size: int = 0
    gone: bool = False
    over: bool = False
    read: bool = False
    said: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Headers of the response, but for those that let a page read it."""

    whole: bytes | None = None
    """Body of the response, if it was sent at once."""

    ended: APIError | None = None
    """Why the server has ended the request before its client did."""

    def __post_init__(self) -> None:
        self.headers = Headers(scope=self.scope)
        self.read = self.scope["method"] in ("GET", "HEAD", "")  # their bodies are never read

    async def receive_noting_end(self) -> Message:
        """Receive a message of the request, and record the end of the body.

        Raises:
            APIError: the body can't be parsed.
        """
        message = await self.receive()
        self.read = not message.get("more_body", False)
        if error := refusal_of(self.scope):
            raise error
        return message

    async def discard(self) -> None:
        """Read the rest of the request, if it is small and arrives soon.

        A client that is disconnected while it sends may miss the response. A client that sends an `Expect`
        header waits for the response before it sends the body, so nothing is read.
        """
        headers, size = self.headers, 0
        declared = headers.get("content-length", "0")
        if "expect" in headers or (declared.isdecimal() and int(declared[:20]) > DISCARD_BYTES):
            return
        with contextlib.suppress(TimeoutError, APIError, MemoryError):
            async with asyncio.timeout(DISCARD_SECONDS):
                while not self.read and size < DISCARD_BYTES:
                    size += len((await self.receive_noting_end()).get("body", b""))
        if refusal_of(self.scope) and self.scope["method"]:
            await asyncio.sleep(LINGER_SECONDS)  # the rest of the body is dropped as it arrives

    async def send_response(self, message: Message) -> None:
        """Send a message of the response with the request's id, and record its status and size."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            extra = [(b"x-request-id", self.id.encode()), (b"x-content-type-options", b"nosniff")]
            names = {name for name, _ in message["headers"]}
            self.said = [*message["headers"], *(each for each in extra if each[0] not in names)]
            message["headers"] = self.said
        else:
            body = message.get("body", b"")
            self.whole = None if self.size or message.get("more_body") else body
            self.size += len(body)
        await self.origins.send(message, self.send, self.headers)

    def end(self, error: APIError) -> None:
        """End a request whose body is not complete."""
        if not self.read and self.status == 0 and self.task is not None and not self.over:
            self.ended = error
            self.task.cancel()

    async def wait_for_disconnect(self) -> None:
        """Wait until the client disconnects, then cancel its request if no response has started."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
        if self.status == 0 and self.task is not None and not self.over:
            self.gone = True
            self.task.cancel()
