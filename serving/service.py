"""The BentoML service: `bentoml serve serving.service:GANZoo` serves every artifact of a folder."""

import asyncio
import base64
import binascii
import contextlib
import dataclasses
import gc
import sys
import threading
from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated, Any

import bentoml
from bentoml.exceptions import BentoMLException
from bentoml.validators import ContentType
from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.api.app import ERROR_BODIES, router
from serving.api.bodies import media_type
from serving.api.formats import encode
from serving.api.requests import SampleRequest, TranslateRequest
from serving.api.responses import Stopwatch
from serving.api.sampling import SamplingRoutes
from serving.api.translation import TranslationRoutes
from serving.errors import APIError, EngineError, UserError, shown
from serving.metrics import drop_dead_processes
from serving.middleware.access_log import AccessLog
from serving.middleware.auth import APIKeyAuth
from serving.middleware.request import RequestMiddleware
from serving.repository.repository import ModelRepository
from serving.runtime.artifact import read_file
from serving.runtime.sessions import choose_provider
from serving.settings import Settings
from serving.system.signals import shut_down_on_sigterm
from serving.validation import validation_message

Png = Annotated[bytes, ContentType("image/png")]

BENTOML_CALLS, BENTOML_PAGES = ("/sample", "/translate"), ("/schema.json",)
BENTOML_FILES = "/static_content/"

repository = ModelRepository(Settings())
"""The model repository of this process; the service configures and loads it when it starts."""

sampling, translation = SamplingRoutes(repository), TranslationRoutes(repository)
"""The routes that BentoML's typed calls use."""


class Dispatcher:
    """ASGI app that routes each request to the API or to BentoML, by its path.

    BentoML's middleware takes longer than a small model, so only BentoML's own paths go through it. Its typed
    calls accept only JSON with a Content-Length: BentoML fetches the text of a form's file field as a URL.
    """

    def __init__(self, bentoml: ASGIApp, api: ASGIApp) -> None:
        self.bentoml, self.api = bentoml, api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request."""
        path = scope["path"]
        if path in BENTOML_CALLS:
            self._must_be_plain(Headers(scope=scope))
        elif path not in BENTOML_PAGES and not path.startswith(BENTOML_FILES):
            await self.api(scope, receive, send)
            return
        await self.bentoml(scope, receive, send)

    @staticmethod
    def _must_be_plain(headers: Headers) -> None:
        length, limit = headers.get("content-length", ""), repository.settings.max_upload
        if media_type(headers) != "application/json":
            given = shown(media_type(headers))
            raise APIError(415, "unsupported_type", f"Content-Type must be application/json; got {given}")
        if not length.isdecimal():
            text = f"Content-Length must be a number of bytes; got {shown(length)}"
            raise APIError(411, "length_required", text)
        if len(length) > 12 or int(length) > limit:
            raise APIError(413, "body_too_large", f"the body must be at most {limit} bytes; got more")


class DirectService(bentoml.Service[Any]):  # type: ignore[misc]
    """A BentoML service with the API in front of BentoML's own middleware."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """Return the ASGI app that the server runs."""
        settings = Settings.from_environment()
        inner, log = super().to_asgi(is_main), AccessLog() if settings.access_log else None
        middleware = RequestMiddleware(
            Dispatcher(inner, router(repository)),
            ERROR_BODIES,
            APIKeyAuth(settings.all_keys),
            log=log,
        )

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                shut_down_on_sigterm(settings.drain, repository.shut_down)
            await (middleware if scope["type"] == "http" else inner)(scope, receive, send)
            if scope["type"] == "lifespan" and log is not None:
                log.flush()

        return app


def _workers() -> int:
    """Return the number of worker processes; 1 if the settings are invalid, which `check` reports."""
    try:
        return Settings.from_environment().workers
    except UserError:
        return 1


@contextlib.contextmanager
def _as_bentoml_errors() -> Iterator[None]:
    """Convert the errors of a typed call to BentoML's exceptions."""
    try:
        yield
    except APIError as error:
        raise BentoMLException(str(error), error_code=HTTPStatus(error.status)) from None
    except ValidationError as error:
        message = validation_message(error.errors(include_url=False))
        raise BentoMLException(message, error_code=HTTPStatus.BAD_REQUEST) from None
    except binascii.Error:
        raise BentoMLException("image must be valid base64", error_code=HTTPStatus.BAD_REQUEST) from None


@bentoml.service(
    name="ganzoo",
    workers=_workers(),
    traffic={"timeout": 30},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    tracing={"excluded_urls": [".*"]},
    service_class=DirectService,
)
class GANZoo:
    """Sampling and translation with every artifact of the folder GANZOO_ARTIFACTS."""

    def __init__(self) -> None:
        repository.configure(Settings.from_environment())
        repository.load()
        drop_dead_processes()
        self._stop = threading.Event()
        if repository.settings.reload:
            threading.Thread(
                target=repository.keep_fresh, args=(self._stop,), name="reload", daemon=True
            ).start()
        # Garbage collection causes the longest latencies: exclude everything loaded so far.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 1_000)

    @bentoml.api(route="/sample")  # type: ignore[untyped-decorator]
    async def sample(
        self,
        model: str,
        n: int = 1,
        seed: int | None = None,
        label: int | str | None = None,
        truncation: float | None = None,
    ) -> Png:
        """Sample images from seeds, as a PNG of one image or of a sheet of n."""
        with _as_bentoml_errors():
            asked = SampleRequest(n=n, seed=seed, label=label, truncation=truncation)
            found = repository.find(model, "sample")
            with found.at_work.hold(min(n, repository.settings.max_images)):
                result, _ = await sampling.draw(found, asked, Stopwatch())
                return await asyncio.to_thread(encode, result, "png")

    @bentoml.api(route="/translate")  # type: ignore[untyped-decorator]
    async def translate(self, model: str, image: str, direction: str | None = None) -> Png:
        """Translate a PNG, JPEG or WebP image in base64 to a PNG of the same size."""
        with _as_bentoml_errors(), repository.uploads.hold():
            data = base64.b64decode(image, validate=True)
            asked = TranslateRequest(direction=direction)
            result, _ = await translation.draw(repository.find(model, "translate"), asked, data, Stopwatch())
            return await asyncio.to_thread(encode, result, "png")

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check() -> None:
        """Exit with one line and status 2 if a worker could not serve.

        The artifacts are loaded on the CPU, which leaves the GPU's memory to the workers. The files that the
        workers will load are read and checked against their hashes.
        """
        try:
            settings = Settings.from_environment()
            provider = choose_provider(settings.provider)
            tried = ModelRepository(dataclasses.replace(settings, provider="cpu"))
            tried.load()
            if tried.faults:
                raise EngineError(
                    f"{settings.artifacts} can't be served: {next(iter(tried.faults.values()))}"
                )
            for name, model in tried.models.items():
                for graph in model.manifest.graphs.values():
                    read_file(settings.artifacts / name, graph.variant_for(provider, settings.precision))
        except UserError as error:
            print(f"ganzoo: {error}", file=sys.stderr)
            raise SystemExit(2) from None

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def close(self) -> None:
        """Stop looking for new artifacts."""
        self._stop.set()
