"""An image and what is said beside it, out of a request: a form with a file, or the image as the body."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.message import Message
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartParser
from starlette.requests import ClientDisconnect, Request

from serving.api.requests import TranslateRequest
from serving.errors import APIError

FORM = "multipart/form-data"
RAW = ("image/*", "application/octet-stream")
"""What an image that is itself the body may call itself; what it is, its content says."""

BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{1,70}")
"""What may part a form (RFC 2046, section 5.1.1)."""

MAX_FIELDS, MAX_FIELD = 8, 1024
"""Fields of a form or a query, and bytes in one."""


async def read_upload(request: Request, limit: int) -> tuple[TranslateRequest, bytes]:
    """Read a translate request: what it says, in the query or in the form's fields, and the image's bytes.

    Raises:
        APIError: `unsupported_type` (415), `body_too_large` (413) or `invalid_request` (400).
    """
    headers, asked = request.headers, request.query_params.multi_items()
    if len(asked) > MAX_FIELDS:
        raise APIError(400, "invalid_request", f"a query may have {MAX_FIELDS} fields")
    body = await read_body(request, limit, (FORM, *RAW))
    fields, image = await _read_form(headers, body) if media_type(headers) == FORM else ([], body)
    if not image:
        raise APIError(400, "invalid_request", "there is no image", "image")
    return parse_fields(TranslateRequest, [*asked, *fields]), image


async def _read_form(headers: Headers, body: bytes) -> tuple[list[tuple[str, str]], bytes]:
    """Take a form apart: its fields but the image, and the image's bytes."""

    async def whole() -> AsyncIterator[bytes]:
        yield body

    parser = MultiPartParser(
        Headers({"content-type": _form_type(headers)}),
        whole(),  # type: ignore[arg-type]
        max_files=1,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD,
    )
    parser.spool_max_size = len(body) + 1  # held in memory already: nothing is written to disk
    try:
        form = await parser.parse()
    except Exception:  # parsers of foreign text raise whatever they stumble over
        raise APIError(400, "invalid_request", "the form is damaged, or has more than one file") from None
    try:
        file = form.get("image")
        if not isinstance(file, UploadFile):
            raise APIError(400, "invalid_request", "the image must be a file of the form", "image")
        fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
        return fields, await file.read()
    finally:
        await form.close()


def _form_type(headers: Headers) -> str:
    """Give a form's media type with its boundary and nothing else: its text is UTF-8, whatever it claims."""
    said = Message()
    said["content-type"] = headers["content-type"]
    boundary = said.get_boundary()
    if not boundary or not BOUNDARY.fullmatch(boundary):
        raise APIError(400, "invalid_request", "the form must name its boundary, of 70 characters at most")
    return f'{FORM}; boundary="{boundary}"'


Asked = TypeVar("Asked", bound=BaseModel)


Given = TypeVar("Given")


BODY_SECONDS = 20.0
"""That a body may take to come."""


LARGE = 2**16
"""Bytes of JSON that are read within a millisecond."""


def media_type(headers: Mapping[str, str]) -> str:
    """Give the media type that a request says its body is of, without parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request, limit: int, kinds: tuple[str, ...]) -> bytes:
    """Read a request's body of one of some media types, `image/*` being any, never more than the limit.

    Raises:
        APIError: `unsupported_type` (415), `body_too_large` (413) or `too_slow` (408).
        ClientDisconnect: the client has gone.
    """
    kind = media_type(request.headers)
    if kind not in kinds and not any(fnmatchcase(kind, each) for each in kinds):
        raise APIError(415, "unsupported_type", f"the body must be {' or '.join(filter(None, kinds))}")
    declared = request.headers.get("content-length", "")
    _must_be_small(int(declared[:20]) if declared.isdecimal() else 0, limit)
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                body += message.get("body", b"")
                _must_be_small(len(body), limit)
                more = message.get("more_body", False)
    except TimeoutError:
        raise APIError(408, "too_slow", f"the body must come within {BODY_SECONDS:g} s") from None
    return bytes(body)


def _must_be_small(size: int, limit: int) -> None:
    if size > limit:
        raise APIError(413, "body_too_large", f"the body may have {limit} bytes")


async def read_json(request: Request, limit: int) -> bytes:
    """Read a request's body of JSON.

    Raises:
        APIError: `unsupported_type` (415), `body_too_large` (413) or `too_slow` (408).
    """
    return await read_body(request, limit, ("application/json",))


async def parse_body(kind: type[Asked], body: bytes) -> Asked:
    """Read a request of JSON; a large one beside the event loop.

    Raises:
        APIError: `invalid_request` (400), with the field at fault.
    """
    with _validating():
        return await in_thread_if(len(body) > LARGE, kind.model_validate_json, body)


async def in_thread_if(large: bool, work: Callable[..., Given], *operands: Any) -> Given:
    """Do what takes long beside the event loop, and what does not at once."""
    return await asyncio.to_thread(work, *operands) if large else work(*operands)


def parse_fields(kind: type[Asked], said: Sequence[tuple[str, str]]) -> Asked:
    """Read a request of fields and their texts, as a form or a query has them.

    Raises:
        APIError: `invalid_request` (400), with the field at fault.
    """
    names = [name for name, _ in said]
    if twice := [name for name in names if names.count(name) > 1]:
        raise APIError(400, "invalid_request", "a field may stand once", twice[0][:64])
    with _validating():
        return kind.model_validate(dict(said))


@contextmanager
def _validating() -> Iterator[None]:
    """Turn what is found wrong into a refusal."""
    try:
        yield
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = str(first["loc"][0])[:64] if first["loc"] else None
        raise APIError(400, "invalid_request", first["msg"], field) from None
