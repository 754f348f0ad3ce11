"""An image and what is said beside it, out of a request: a form with a file, or the image as the body."""

from collections.abc import AsyncIterator

from starlette.datastructures import Headers, QueryParams, UploadFile
from starlette.formparsers import MultiPartParser

from serving.errors import Refusal
from serving.requests import TranslateRequest, media_type, parse_translate, read_body

FORM = "multipart/form-data"
RAW = ("image/png", "image/jpeg", "image/webp", "application/octet-stream")
"""What an image that is itself the body may call itself; what it is, its content says."""

MAX_FIELDS = 8


async def read_upload(
    headers: Headers, query: QueryParams, stream: AsyncIterator[bytes], limit: int
) -> tuple[TranslateRequest, bytes]:
    """Read a translate request: what it says, in the query or in the form's fields, and the image's bytes.

    Raises:
        Refusal: `unsupported_type` (415), `body_too_large` (413) or `invalid_request` (400).
    """
    body = await read_body(headers, stream, limit, (FORM, *RAW))
    fields, image = await _read_form(headers, body) if media_type(headers) == FORM else ([], body)
    if not image:
        raise Refusal(400, "invalid_request", "there is no image", "image")
    said = [*query.multi_items(), *fields]
    names = [name for name, _ in said]
    if twice := [name for name in names if names.count(name) > 1]:
        raise Refusal(400, "invalid_request", "a field may stand once", twice[0][:64])
    return parse_translate(dict(said)), image


async def _read_form(headers: Headers, body: bytes) -> tuple[list[tuple[str, str]], bytes]:
    """Take a form apart: its fields but the image, and the image's bytes."""

    async def whole() -> AsyncIterator[bytes]:
        yield body

    parser = MultiPartParser(headers, whole(), max_files=1, max_fields=MAX_FIELDS)  # type: ignore[arg-type]
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
