"""The HTTP door: `bentoml serve serving.service:GANZoo` serves every artifact of a folder."""

import dataclasses
import gc
import sys

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.engine import read_file
from serving.models import load_models
from serving.routes import Contract, Guard
from serving.sessions import choose_provider
from serving.settings import Settings

BENTOML_PAGES, BENTOML_FILES = {"/", "/docs.json", "/schema.json", "/metrics"}, "/static_content/"
"""What BentoML answers itself; everything else is the contract's."""

contract = Contract()
"""A process has one service and so one contract; it gets its models when the service starts."""


@bentoml.service(
    name="ganzoo",
    workers=1,
    traffic={"timeout": 30},
    tracing={"excluded_urls": [".*"]},
)
class GANZoo:
    """Sampling and translation by every artifact under GANZOO_ARTIFACTS."""

    def __init__(self) -> None:
        contract.settings = Settings.from_environment()
        contract.models = load_models(contract.settings)
        # The collector's pauses are what slow requests are made of: what is loaded by now stays.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 1_000)

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check() -> None:
        """Refuse to start at all, in one line and with status 2, where a worker could not serve.

        The artifacts are tried on the CPU: a GPU's memory is for the worker alone. What the worker will load
        is read and held against its hash.
        """
        try:
            settings = Settings.from_environment()
            provider = choose_provider(settings.provider)
            models = load_models(dataclasses.replace(settings, provider="cpu"))
            for name, model in models.items():
                for graph in model.manifest.graphs.values():
                    read_file(settings.artifacts / name, graph.variant_for(provider, settings.precision))
        except ValueError as error:
            print(f"ganzoo: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        for model in models.values():
            model.close()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def close(self) -> None:
        """Let running batches finish."""
        for model in contract.models.values():
            model.close()


class Door:
    """Give each request to the contract or to BentoML, by its path."""

    def __init__(self, app: ASGIApp, contract: ASGIApp) -> None:
        self.bentoml, self.contract = app, contract

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        path = scope.get("path", "")
        theirs = scope["type"] != "http" or path in BENTOML_PAGES or path.startswith(BENTOML_FILES)
        await (self.bentoml if theirs else self.contract)(scope, receive, send)


GANZoo.add_asgi_middleware(Door, contract=Guard(contract.router()))  # type: ignore[attr-defined]
