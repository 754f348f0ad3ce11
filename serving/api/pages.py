"""Routes of pages: the playground at `/` and the API's docs at `/docs`; they call only this server."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import bentoml
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.api.responses import is_known

FOLDER = Path(__file__).parents[1] / "playground"

SWAGGER = Path(bentoml.__file__).parent / "_internal/server/static_content"
"""Folder of Swagger UI, which shows the API's description, in BentoML's package."""

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

DOCS_HEADERS = HEADERS | {
    "Content-Security-Policy": HEADERS["Content-Security-Policy"].replace(
        "default-src 'self'", "default-src 'self'; style-src 'self' 'unsafe-inline'"
    )
}
"""Headers of the API's documentation: Swagger UI sets styles of its elements."""


def routes() -> list[Route]:
    """Return the routes of the playground and of all files."""
    return [
        Route("/", playground),
        Route("/playground/{file:path}", playground_file),
        Route("/static_content/{file:path}", docs_file),
    ]


async def playground(request: Request) -> Response:
    """Return the page of the playground."""
    return _respond(FILES, PAGE, request, HEADERS)


async def playground_file(request: Request) -> Response:
    """Return a file of the playground."""
    return _respond(FILES, request.path_params["file"], request, HEADERS)


async def docs(request: Request) -> Response:
    """Return the API documentation as a page."""
    return _respond(DOCS_FILES, DOCS, request, DOCS_HEADERS)


async def docs_file(request: Request) -> Response:
    """Return a file of the API documentation."""
    return _respond(DOCS_FILES, request.path_params["file"], request, DOCS_HEADERS)


def _respond(files: Mapping[str, bytes], name: str, request: Request, headers: Mapping[str, str]) -> Response:
    if name not in files:
        raise HTTPException(404)
    content = files[name]
    said = {**headers, "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"'}
    if is_known(request.headers, said["ETag"]):
        return Response(status_code=304, headers=said)
    return Response(content, headers=said, media_type=KINDS[Path(name).suffix])


FILES = {
    path.relative_to(FOLDER).as_posix(): path.read_bytes()
    for path in FOLDER.rglob("*")
    if path.suffix in KINDS
}
"""Content of every file of the playground, by its path below the folder; no other file can be requested."""

DOCS = "docs.html"

DOCS_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>GAN Zoo: the API</title>
<link rel="stylesheet" href="static_content/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="static_content/swagger-ui-bundle.js"></script>
<script src="static_content/docs.js"></script>
</body>
</html>
"""
SCRIPT = """SwaggerUIBundle({url: "docs.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});
"""
"""The page's own script, which is a file because the page may run no script within itself."""

DOCS_FILES = {
    DOCS: DOCS_PAGE.encode(),
    "docs.js": SCRIPT.encode(),
    **{name: (SWAGGER / name).read_bytes() for name in ("swagger-ui.css", "swagger-ui-bundle.js")},
}
"""Content of every file of the API's documentation."""
