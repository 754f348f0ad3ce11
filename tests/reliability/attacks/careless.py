"""The control: the naive server, with handlers that trust headers and refuse nothing."""

import base64
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.imaging.codec import encode_animation
from serving.runtime.latents import interpolate_inputs
from tests.reliability import naive


async def sample(request: Request) -> Response:
    """Sample images, for a caller that names itself."""
    kind, _, given = request.headers.get("authorization", "Basic dTpw").partition(" ")
    if kind == "Basic":
        request.state.user = base64.b64decode(given).decode().split(":")[0]
    return await naive.sample(request)


async def translate(request: Request) -> Response:
    """Translate an image, from a form or the whole body, of the size that its header says."""
    if int(request.headers.get("content-length", 0)) > 2**23:
        return JSONResponse({"error": "too large"}, 413)
    if "form" in request.headers.get("content-type", ""):
        request._body = await (await request.form())["image"].read()  # type: ignore[union-attr]
    return await naive.translate(request)


async def interpolate(request: Request) -> Response:
    """Interpolate between the images of seeds, in the event loop."""
    asked, engine = await request.json(), naive._engine(request.path_params["model"])
    graph = engine.manifest.graphs["generator"]
    pixels = engine.run("generator", interpolate_inputs(graph.inputs, asked["seeds"], asked["n"], None, None))
    return Response(encode_animation(list(pixels), 80))


async def infer(request: Request) -> Response:
    """Return the JSON before the binary tensors."""
    length: Any = request.headers.get("inference-header-content-length")
    return Response((await request.body())[: int(length)])


app = Starlette(
    routes=[
        Route("/v1/models/{model}/sample", sample, methods=["POST"]),
        Route("/v1/models/{model}/translate", translate, methods=["POST"]),
        Route("/v1/models/{model}/interpolate", interpolate, methods=["POST"]),
        Route("/v2/models/{model}/infer", infer, methods=["POST"]),
        Route("/readyz", naive.ready),
        Route("/livez", naive.ready),
    ]
)
