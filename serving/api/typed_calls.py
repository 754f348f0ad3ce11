"""BentoML's typed calls, for its own client: PNGs of samples and translations, by the same rules as /v1."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.api.bodies import LARGE, in_thread_if, parse_body, read_json
from serving.api.requests import SampleRequest, TranslateRequest, TypedSample, TypedTranslate
from serving.api.sampling import SamplingRoutes
from serving.api.translation import TranslationRoutes
from serving.errors import APIError
from serving.repository.repository import ModelRepository
from serving.system.stopwatch import Stopwatch

Schema = Callable[[], dict[str, Any]]


@dataclass
class TypedCalls:
    """The routes of BentoML's typed calls and of their schema, which BentoML's client reads first."""

    repository: ModelRepository
    sampling: SamplingRoutes
    translation: TranslationRoutes
    schema: Schema

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/sample", self.typed_sample, methods=["POST"]),
            Route("/translate", self.typed_translate, methods=["POST"]),
            Route("/schema.json", self.typed_schema),
        ]

    async def typed_sample(self, request: Request) -> Response:
        """Sample images from seeds, as a PNG of one image or of a sheet of n, for BentoML's client."""
        body = await read_json(request, self.repository.settings.max_body, self.repository.bodies)
        asked = await parse_body(TypedSample, body)
        request.scope["model"] = self.repository.find(asked.model, "sample").name
        return await self.sample(asked)

    async def typed_translate(self, request: Request) -> Response:
        """Translate an image in base64 to a PNG, for BentoML's client."""
        body = await read_json(request, self.repository.settings.max_upload, self.repository.bodies)
        asked = await parse_body(TypedTranslate, body)
        request.scope["model"] = self.repository.find(asked.model, "translate").name
        return await self.translate(asked)

    async def typed_schema(self, request: Request) -> Response:
        """Return the schema of the typed calls."""
        return JSONResponse(self.schema())

    async def sample(self, asked: TypedSample) -> Response:
        """Sample images.

        Raises:
            APIError: as for `POST /v1/models/{model}/sample`.
        """
        model = self.repository.find(asked.model, "sample")
        wanted = SampleRequest(
            n=asked.n, seed=asked.seed, label=asked.label, truncation=asked.truncation, format="png"
        )
        return await self.sampling.respond_to(model, wanted, Stopwatch())

    async def translate(self, asked: TypedTranslate) -> Response:
        """Translate an image.

        Raises:
            APIError: as for `POST /v1/models/{model}/translate`.
        """
        model = self.repository.find(asked.model, "translate")
        try:
            data = await in_thread_if(len(asked.image) > LARGE, _decode, asked.image)
        except ValueError:
            raise APIError(400, "invalid_request", "image must be valid base64", "image") from None
        wanted = TranslateRequest(direction=asked.direction, format="png")
        return await self.translation.respond_to(model, wanted, data, Stopwatch())


def _decode(text: str) -> bytes:
    """Decode base64 part by part, between which other threads can run.

    Raises:
        ValueError: the text is not valid base64.
    """
    encoded = text.encode("ascii")
    if b"=" in encoded[:-2]:
        raise ValueError("padding must be at the end")
    parts = (encoded[place : place + LARGE] for place in range(0, len(encoded), LARGE))
    return b"".join(base64.b64decode(part, validate=True) for part in parts)
