"""Routes of the playground: the page at `/` and its files, which send requests only to this server."""

import hashlib
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOLDER = Path(__file__).parents[1] / "playground"

PAGE = "index.html"

KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
"""Media types of the files, by suffix."""

HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of every file: browsers revalidate it each time, run only these scripts, and load nothing from
other hosts."""


def routes() -> list[Route]:
    """Return the routes of the page and of its files."""
    return [Route("/", playground), Route("/playground/{file:path}", playground_file)]


async def playground(request: Request) -> Response:
    """Return the page of the playground."""
    return _answer(PAGE, request)


async def playground_file(request: Request) -> Response:
    """Return a file of the playground."""
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
"""Content of every file, by its path below the folder; no other file can be requested."""
