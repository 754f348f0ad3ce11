"""The control: a minimal server of the same models, without middleware, limits or batching."""

import io
import json
import os
from pathlib import Path

import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.runtime.engine import Engine
from serving.runtime.latents import draw_latents

ARTIFACTS = Path(os.environ.get("GANZOO_ARTIFACTS", "artifacts"))
engines: dict[str, Engine] = {}
answered: list[bytes] = []


def _engine(name: str) -> Engine:
    if name not in engines:
        engines[name] = Engine(ARTIFACTS / name, "cpu")
    return engines[name]


async def sample(request: Request) -> Response:
    """Sample images, and keep every response in memory (the leak of the soak trial)."""
    asked, engine = json.loads(await request.body()), _engine(request.path_params["model"])
    size = engine.manifest.graphs["generator"].inputs["latent"].size
    seeds = [asked.get("seed", 0) + i for i in range(asked.get("n", 1))]
    pixels = engine.run("generator", {"latent": draw_latents(size, seeds)})
    answered.append(pixels.tobytes())
    return Response(answered[-1])


async def translate(request: Request) -> Response:
    """Translate an image."""
    image = Image.open(io.BytesIO(await request.body()))
    engine = _engine(request.path_params["model"])
    pixels = engine.run("a2b", {"image": np.asarray(image)[None]})
    file = io.BytesIO()
    Image.fromarray(pixels[0]).save(file, "PNG")
    return Response(file.getvalue())


async def ready(request: Request) -> Response:
    """Return 200 if the process responds."""
    return Response("ready")


app = Starlette(
    routes=[
        Route("/v1/models/{model}/sample", sample, methods=["POST"]),
        Route("/v1/models/{model}/translate", translate, methods=["POST"]),
        Route("/readyz", ready),
    ]
)
