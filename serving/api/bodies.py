"""An image and what is said beside it, out of a request: a form with a file, or the image as the body."""

import re
from collections.abc import AsyncIterator
from email.message import Message

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartParser
from starlette.requests import Request

from serving.api.requests import TranslateRequest, media_type, parse_fields, read_body
from serving.errors import Refusal

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
        Refusal: `unsupported_type` (415), `body_too_large` (413) or `invalid_request` (400).
    """
    headers, asked = request.headers, request.query_params.multi_items()
    if len(asked) > MAX_FIELDS:
        raise Refusal(400, "invalid_request", f"a query may have {MAX_FIELDS} fields")
    body = await read_body(request, limit, (FORM, *RAW))
    fields, image = await _read_form(headers, body) if media_type(headers) == FORM else ([], body)
    if not image:
        raise Refusal(400, "invalid_request", "there is no image", "image")
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
        raise Refusal(400, "invalid_request", "the form is damaged, or has more than one file") from None
    try:
        file = form.get("image")
        if not isinstance(file, UploadFile):
            raise Refusal(400, "invalid_request", "the image must be a file of the form", "image")
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
        raise Refusal(400, "invalid_request", "the form must name its boundary, of 70 characters at most")
    return f'{FORM}; boundary="{boundary}"'
