"""The BentoML service: `bentoml serve serving.service:GANZoo` serves every artifact of a folder."""

import dataclasses
import gc
import logging
import os
import sys
import threading
from typing import Annotated, Any

# BentoML sets this variable. With it, Prometheus's client would keep the metrics in mapped files, and a full
# disk would end the process.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)

import bentoml
import click
from bentoml.validators import ContentType
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.api.app import ERROR_BODIES, router
from serving.api.requests import TypedSample, TypedTranslate
from serving.api.sampling import SamplingRoutes
from serving.api.translation import TranslationRoutes
from serving.api.typed_calls import TypedCalls
from serving.errors import EngineError, UserError
from serving.launcher import address_of
from serving.metrics import LOST_LINES, share
from serving.middleware.access_log import AccessLog
from serving.middleware.answers import Answers
from serving.middleware.auth import APIKeyAuth
from serving.middleware.origins import AllowedHosts, CrossOrigin
from serving.middleware.recall import install
from serving.middleware.request import RequestMiddleware
from serving.middleware.request_limit import RequestLimit
from serving.middleware.tracing import tracing_from
from serving.repository.repository import ModelRepository
from serving.runtime.artifact import read_file
from serving.runtime.sessions import choose_provider
from serving.settings import Settings
from serving.shared_metrics import make_folder
from serving.system.output import Output, log_through
from serving.system.signals import shut_down_on_sigterm

Png = Annotated[bytes, ContentType("image/png")]

repository = ModelRepository(Settings())
"""The model repository of this process; the service configures and loads it when it starts."""

calls = TypedCalls(repository, SamplingRoutes(repository), TranslationRoutes(repository), dict)
"""BentoML's typed calls, for callers in this process."""


class DirectService(bentoml.Service[Any]):  # type: ignore[misc]
    """A BentoML service whose requests go to the API; BentoML starts it, ends it and describes its calls.

    BentoML's middleware takes longer than a small model, and answers errors in another form.
    """

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """Return the ASGI app that the server runs."""
        settings = Settings.from_environment()
        output = Output(dropped=LOST_LINES.inc)
        tracing = tracing_from()
        inner, log = super().to_asgi(is_main), AccessLog(output) if settings.access_log else None
        middleware = RequestMiddleware(
            router(repository, self.schema),
            ERROR_BODIES,
            APIKeyAuth(settings.all_keys),
            AllowedHosts(settings.all_hosts),
            CrossOrigin(settings.all_origins),
            settings.prefix,
            log=log,
            answers=Answers(settings.cache_bytes),
            tracing=tracing,
        )
        install(RequestLimit(middleware.refuse, settings.max_queue_seconds), middleware.recall)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                log_through(output)
                shut_down_on_sigterm(settings.drain, repository.shut_down, middleware.drain)
            await (middleware if scope["type"] == "http" else inner)(scope, receive, send)
            if scope["type"] == "lifespan":
                if tracing is not None:
                    tracing.close()
                if log is not None:
                    log.flush()
                output.flush()

        return app


def _must_be_free() -> None:
    """Check that the address can be bound for which `bentoml serve` was called.

    Raises:
        UserError: the port is in use, or the address is not one of this machine.
    """
    called = click.get_current_context(silent=True)
    if called is not None and called.params.get("port"):
        address_of(called.params.get("host") or "127.0.0.1", int(called.params["port"]))


def _workers() -> int:
    """Return the number of worker processes; 1 if the settings are invalid, which `check` reports."""
    try:
        return Settings.from_environment().workers
    except UserError:
        return 1


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
        logging.getLogger("ganzoo").setLevel(logging.INFO)
        repository.configure(Settings.from_environment())
        repository.load()
        self._stop = threading.Event()
        share(self._stop)
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
        asked = TypedSample(model=model, n=n, seed=seed, label=label, truncation=truncation)
        return bytes((await calls.sample(asked)).body)

    @bentoml.api(route="/translate")  # type: ignore[untyped-decorator]
    async def translate(self, model: str, image: str, direction: str | None = None) -> Png:
        """Translate a PNG, JPEG or WebP image in base64 to a PNG."""
        asked = TypedTranslate(model=model, image=image, direction=direction)
        return bytes((await calls.translate(asked)).body)

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check() -> None:
        """Exit with one line and status 2 if a worker could not serve.

        The artifacts are loaded on the CPU, which leaves the GPU's memory to the workers. The files that the
        workers will load are read and checked against their hashes.
        """
        try:
            _must_be_free()
            settings = Settings.from_environment()
            tracing_from()
            if settings.workers > 1:
                make_folder()
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
