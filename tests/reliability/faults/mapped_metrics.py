"""The control of a full disk: an app whose metrics are in Prometheus's mapped files."""

from prometheus_client import Counter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

SEEN = Counter("seen", "Requests by number", ["number"])


async def count(request: Request) -> Response:
    """Count a request by its number."""
    SEEN.labels(request.path_params["number"]).inc()
    return Response("counted")


async def ready(request: Request) -> Response:
    """Return 200 if the process responds."""
    return Response("ready")


app = Starlette(routes=[Route("/count/{number}", count), Route("/readyz", ready)])
