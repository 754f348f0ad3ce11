"""Request bodies: JSON, forms with an image file, and images as the whole body."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from email.message import Message
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartParser
from starlette.requests import ClientDisconnect, Request

from serving.api.requests import TranslateRequest
from serving.errors import APIError, shown
from serving.repository.admission import Admission
from serving.validation import validation_message

FORM = "multipart/form-data"
RAW = ("image/*", "application/octet-stream")
"""Media types of an image as the whole body; its format is detected from its content."""

BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{1,70}")
"""Pattern of a form's boundary (RFC 2046, section 5.1.1)."""

MAX_FIELDS, MAX_FIELD = 8, 1024
"""Maximum number of fields of a form or a query, and maximum size of a form's field in bytes."""

BODY_SECONDS = 20.0
"""Maximum seconds for receiving a body."""

LARGE = 2**16
"""Size in bytes above which a body is parsed in a thread; smaller ones take under a millisecond."""

Asked = TypeVar("Asked", bound=BaseModel)
Given = TypeVar("Given")


async def read_upload(request: Request, limit: int, bodies: Admission) -> tuple[TranslateRequest, bytes]:
    """Read a translate request: its fields, from the query and the form, and the image's bytes.

    Raises:
        APIError: `unsupported_type` (415), `body_too_large` (413) or `invalid_request` (400).
    """
    headers, asked = request.headers, request.query_params.multi_items()
    if len(asked) > MAX_FIELDS:
        raise APIError(
            400, "invalid_request", f"a query must have at most {MAX_FIELDS} fields; got {len(asked)}"
        )
    body = await read_body(request, limit, (FORM, *RAW), bodies)
    if media_type(headers) != FORM:
        return parse_fields(TranslateRequest, asked), body
    fields, image = await in_thread_if(len(body) > LARGE, _read_form, headers, body)
    return parse_fields(TranslateRequest, [*asked, *fields]), image


def _read_form(headers: Headers, body: bytes) -> tuple[list[tuple[str, str]], bytes]:
    """Parse a form into its text fields and the image's bytes.

    Starlette's parser is asynchronous. It never waits here, because all of the body is in memory.
    """
    try:
        _parse_form(headers, body).send(None)
    except StopIteration as end:
        fields, image = end.value
        return fields, image
    raise RuntimeError("a form in memory must be parsed without waiting")


async def _parse_form(headers: Headers, body: bytes) -> tuple[list[tuple[str, str]], bytes]:
    async def parts() -> AsyncIterator[bytes]:  # other threads can run in between
        for place in range(0, len(body), LARGE):
            yield body[place : place + LARGE]

    parser = MultiPartParser(
        Headers({"content-type": _form_type(headers)}),
        parts(),  # type: ignore[arg-type]
        max_files=1,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD,
    )
    parser.spool_max_size = len(body) + 1  # the body is in memory already: write nothing to disk
    try:
        form = await parser.parse()
    except Exception:  # the parser may raise anything on invalid forms
        valid = f"one file and at most {MAX_FIELDS} fields of at most {MAX_FIELD} bytes"
        raise APIError(400, "invalid_request", f"the body must be a valid {FORM} with {valid}") from None
    try:
        file = form.get("image")
        if not isinstance(file, UploadFile):
            given = "no such field" if file is None else "a text field"
            raise APIError(400, "invalid_request", f"image must be a file field; got {given}", "image")
        fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
        return fields, await file.read()
    finally:
        await form.close()


def _form_type(headers: Headers) -> str:
    """Return a form's media type with its boundary only, so that all text is read as UTF-8."""
    said = Message()
    said["content-type"] = headers["content-type"]
    boundary = None
    with suppress(Exception):  # the parser may raise anything on invalid parameters
        boundary = said.get_boundary()
    if not isinstance(boundary, str) or not BOUNDARY.fullmatch(boundary):
        raise APIError(
            400,
            "invalid_request",
            "the Content-Type of a form must have a boundary of 1 to 70 characters; "
            f"got {shown(headers['content-type'])}",
        )
    return f'{FORM}; boundary="{boundary}"'


def media_type(headers: Mapping[str, str]) -> str:
    """Return the media type of a request's body, without parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request, limit: int, kinds: tuple[str, ...], bodies: Admission) -> bytes:
    """Read the body of a request.

    Args:
        request: the request.
        limit: maximum size in bytes.
        kinds: accepted media types; `image/*` is every image type.
        bodies: the bytes of all bodies that are being read.

    Raises:
        APIError: `unsupported_type` (415), `body_too_large` (413), `too_slow` (408) or `busy` (429).
        ClientDisconnect: the client has disconnected.
    """
    kind = media_type(request.headers)
    if kind not in kinds and not any(fnmatchcase(kind, each) for each in kinds):
        accepted = " or ".join(filter(None, kinds))
        raise APIError(415, "unsupported_type", f"Content-Type must be {accepted}; got {shown(kind)}")
    declared = request.headers.get("content-length", "")
    _must_be_small(int(declared[:20]) if declared.isdecimal() else 0, limit)
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                part = message.get("body", b"")
                _must_be_small(len(body) + len(part), limit)
                bodies.take(len(part))
                body += part
                more = message.get("more_body", False)
    except TimeoutError:
        raise APIError(
            408, "too_slow", f"the body must arrive within {BODY_SECONDS:g} s; got {len(body)} bytes in time"
        ) from None
    finally:
        bodies.give(len(body))
    return bytes(body)


def _must_be_small(size: int, limit: int) -> None:
    if size > limit:
        raise APIError(413, "body_too_large", f"the body must be at most {limit} bytes; got more")


async def read_json(request: Request, limit: int, bodies: Admission) -> bytes:
    """Read a JSON body of up to `limit` bytes.

    Raises:
        APIError: as for `read_body`.
    """
    return await read_body(request, limit, ("application/json",), bodies)


async def parse_body(kind: type[Asked], body: bytes) -> Asked:
    """Parse a JSON body as a request type; large bodies are parsed in a thread.

    Raises:
        APIError: `invalid_request` (400), with the field at fault.
    """
    with _validating():
        return await in_thread_if(len(body) > LARGE, kind.model_validate_json, body)


async def in_thread_if(large: bool, work: Callable[..., Given], *operands: Any) -> Given:
    """Call a function in a thread if its work is large, else directly."""
    return await asyncio.to_thread(work, *operands) if large else work(*operands)


def parse_fields(kind: type[Asked], said: Sequence[tuple[str, str]]) -> Asked:
    """Parse the text fields of a form or a query as a request type.

    Raises:
        APIError: `invalid_request` (400), with the field at fault.
    """
    names = [name for name, _ in said]
    if twice := [name for name in names if names.count(name) > 1]:
        given = f"the field {shown(twice[0])} must be given at most once; got {names.count(twice[0])} values"
        raise APIError(400, "invalid_request", given, twice[0][:64])
    with _validating():
        return kind.model_validate(dict(said))


@contextmanager
def _validating() -> Iterator[None]:
    """Convert validation errors to API errors."""
    try:
        yield
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False)
        field = str(errors[0]["loc"][0])[:64] if errors[0]["loc"] else None
        raise APIError(400, "invalid_request", validation_message(errors), field) from None
