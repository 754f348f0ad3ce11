"""Apps of the whole HTTP contract, asked without a socket, and what is asked and answered."""

import asyncio
import io

import httpx
import numpy as np
from PIL import Image

from serving.api.app import ERROR_BODIES, router
from serving.middleware.request import RequestMiddleware
from serving.repository.repository import ModelRepository
from serving.settings import Settings

SAMPLE = "/v1/models/pictures/sample"


def app_of(settings: Settings) -> RequestMiddleware:
    """The whole contract behind its guard."""
    return RequestMiddleware(router(repository_of(settings)), ERROR_BODIES)


def repository_of(settings: Settings) -> ModelRepository:
    repository = ModelRepository(settings)
    repository.load()
    return repository


def asker(app: RequestMiddleware):
    """A function that asks an app, without a socket."""
    transport = httpx.ASGITransport(app=app)

    def ask(method: str, path: str, **options) -> httpx.Response:
        async def go() -> httpx.Response:
            async with httpx.AsyncClient(transport=transport, base_url="http://zoo") as client:
                return await client.request(method, path, **options)

        return asyncio.run(go())

    return ask


def array(response: httpx.Response) -> np.ndarray:
    assert response.status_code == 200, response.text
    return np.load(io.BytesIO(response.content), allow_pickle=False)


def refused(response: httpx.Response, status: int) -> dict:
    assert response.status_code == status, response.text
    content = response.json()
    assert set(content) == {"error", "request_id"}
    assert {"code", "message"} <= set(content["error"]) <= {"code", "message", "field"}
    assert content["request_id"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text
    assert ".py" not in response.text
    return content["error"]


TRANSLATE = "/v1/models/styles/translate"


def png(pixels: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", **options)
    return out.getvalue()


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng([height, width]).integers(0, 256, (height, width, channels), dtype=np.uint8)


PICTURE = "/v1/models/pictures/samples"
