"""The playground: the page at `/` and its files, which ask this server and no other host."""

import hashlib
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOLDER = Path(__file__).parents[1] / "playground"

PAGE = "index.html"

KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
"""Media types by the ends of the files' names."""

HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Browsers ask each time whether a file is still the same, run no code but these files, and load nothing from
elsewhere."""


def routes() -> list[Route]:
    """Give the routes of the page and of its files."""
    return [Route("/", playground), Route("/playground/{file:path}", playground_file)]


async def playground(request: Request) -> Response:
    """Show the playground."""
    return _answer(PAGE, request)


async def playground_file(request: Request) -> Response:
    """Give one of the files that the page is made of."""
    return _answer(request.path_params["file"], request)


def _answer(name: str, request: Request) -> Response:
    if name not in FILES:
        raise HTTPException(404)
    content = FILES[name]
    headers = {**HEADERS, "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=KINDS[Path(name).suffix])


FILES = {
    path.relative_to(FOLDER).as_posix(): path.read_bytes()
    for path in FOLDER.rglob("*")
    if path.suffix in KINDS
}
"""Every file of the page, by its path below the folder; nothing else of the disk can be asked for."""
