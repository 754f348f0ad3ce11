"""The control: the careless server with pages, cached images and CORS for all, as they are often written."""

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.reliability.attacks import careless


async def page(request: Request) -> Response:
    """Return a page."""
    return HTMLResponse("<!doctype html><title>GANs</title>")


async def metrics(request: Request) -> Response:
    """Return metrics."""
    return PlainTextResponse("requests 1\n")


async def picture(request: Request) -> Response:
    """Return an image, or 304 for whoever says that it has one."""
    known = request.headers.get("if-none-match")
    return Response(status_code=304) if known else PlainTextResponse("an image", headers={"ETag": '"1"'})


careless.app.routes.extend(
    [
        *(Route(path, page) for path in ("/", "/docs")),
        Route("/metrics", metrics),
        Route("/v1/models/{model}/samples/{seed}.png", picture),
    ]
)
app = CORSMiddleware(careless.app, allow_origins=["*"], allow_methods=["*"])
