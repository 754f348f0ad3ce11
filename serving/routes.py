"""The HTTP contract: what each path answers, and the one shape of everything that goes wrong."""

import asyncio
import json
import logging
import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from serving import images
from serving.errors import Refusal
from serving.formats import encode
from serving.images import Pixels
from serving.manifest import Tensor
from serving.models import Model
from serving.requests import error_body, graph_of, inputs_of, parse_sample, read_body
from serving.settings import Settings
from serving.uploads import read_upload

logger = logging.getLogger("ganzoo")

JSON = ("application/json",)


@dataclass
class Contract:
    """The routes over a server's models."""

    models: dict[str, Model] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)

    uploads: int = 0
    """Images at work."""

    decoders: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decoder")
    )
    """Threads for what comes in, so that a slow image holds up nobody's answer."""

    def router(self) -> Router:
        """Make the ASGI app of the routes."""
        return Router(
            [
                Route("/v1/models", self.list_models),
                Route("/v1/models/{model}", self.show_model),
                Route("/v1/models/{model}/sample", self.sample, methods=["POST"]),
                Route("/v1/models/{model}/translate", self.translate, methods=["POST"]),
                Route("/livez", self.alive),
                Route("/readyz", self.ready),
            ],
            redirect_slashes=False,
        )

    async def list_models(self, request: Request) -> Response:
        """Describe every model in short."""
        return json_response({"models": [_summary(model) for model in self.models.values()]})

    async def show_model(self, request: Request) -> Response:
        """Give one model's manifest."""
        return Response(self._model(request).manifest.to_json(), media_type="application/json")

    async def sample(self, request: Request) -> Response:
        """Draw pictures from seeds or latents."""
        watch = Stopwatch()
        model = self._model(request, "sample")
        body = await read_body(request.headers, request.stream(), self.settings.max_body, JSON)
        asked = parse_sample(body)
        ((graph, spec),) = model.manifest.graphs.items()
        inputs, seeds = inputs_of(asked, spec, model.manifest.labels, self.settings.max_images)
        watch.lap("parse")
        output = await model.run(graph, inputs)
        watch.lap("engine")
        about = {"model": model.name, "version": model.manifest.version, "seeds": seeds or None}
        columns = len(model.manifest.labels) if asked.label is None else 0
        content = await asyncio.to_thread(encode, output, asked.format, about, spec.output.range, columns)
        watch.lap("encode")
        return _answer(model, content, watch, {"X-Seed": str(seeds[0])} if seeds else {})

    async def translate(self, request: Request) -> Response:
        """Translate an image of any size to one of the same size."""
        model = self._model(request, "translate")
        if self.uploads >= self.settings.max_uploads:
            raise Refusal(429, "busy", "more images are at work than the server will hold; try again shortly")
        self.uploads += 1
        try:
            return await self._translate(request, model)
        finally:
            self.uploads -= 1

    async def _translate(self, request: Request, model: Model) -> Response:
        watch = Stopwatch()
        asked, data = await read_upload(
            request.headers, request.query_params, request.stream(), self.settings.max_upload
        )
        graph = graph_of(asked, model.manifest)
        spec = model.manifest.graphs[graph].inputs["image"]
        loop = asyncio.get_running_loop()
        size, padded = await loop.run_in_executor(
            self.decoders, _prepare, data, spec, self.settings.max_pixels
        )
        watch.lap("parse")
        output = await model.run(graph, {"image": padded})
        watch.lap("engine")
        about = {"model": model.name, "version": model.manifest.version, "direction": graph}
        height, width = size
        cropped = output[:, :height, :width]
        content = await asyncio.to_thread(encode, cropped, asked.format, about)
        watch.lap("encode")
        return _answer(model, content, watch, {"X-Direction": graph})

    async def alive(self, request: Request) -> Response:
        """Say that the process answers."""
        return json_response({"status": "alive"})

    async def ready(self, request: Request) -> Response:
        """Say that the models are loaded, and where they run."""
        providers = {model.name: model.engine.provider for model in self.models.values()}
        return json_response({"status": "ready", "models": providers})

    def _model(self, request: Request, task: str | None = None) -> Model:
        """Look a model up by the path's name; a path is never made of it."""
        name = request.path_params["model"]
        if name not in self.models:
            raise Refusal(404, "unknown_model", f"there is no such model; there are {', '.join(self.models)}")
        model = self.models[name]
        if task not in (None, model.manifest.task):
            does = {"sample": "samples", "translate": "translates images"}[model.manifest.task]
            raise Refusal(400, "wrong_task", f"{name} {does}; ask for /{model.manifest.task}")
        return model


class Stopwatch:
    """The milliseconds of a request's parts."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.since = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a part."""
        now = time.perf_counter()
        self.parts.append(f"{name};dur={1e3 * (now - self.since):.2f}")
        self.since = now


def _answer(model: Model, content: tuple[bytes, str], watch: Stopwatch, headers: dict[str, str]) -> Response:
    """Answer with what a graph gave."""
    body, kind = content
    said = {"X-Model-Version": model.manifest.version, "Server-Timing": ", ".join(watch.parts)}
    return Response(body, headers=said | headers, media_type=kind)


def _prepare(data: bytes, spec: Tensor, max_pixels: int) -> tuple[tuple[int, int], Pixels]:
    """Decode an image for a graph: its height and width, and its pixels, padded, as a batch of one."""
    pixels = images.decode(data, spec.size, max_pixels=max_pixels, grid=spec.grid)
    return (pixels.shape[0], pixels.shape[1]), images.pad(pixels[None], *spec.grid)


def _summary(model: Model) -> dict[str, Any]:
    manifest = model.manifest
    return {
        "name": model.name,
        "version": manifest.version,
        "entry": manifest.entry,
        "task": manifest.task,
        "provider": model.engine.provider,
        "files": {name: variant.file for name, variant in model.engine.variants.items()},
        "graphs": {
            name: {
                "inputs": {key: tensor.model_dump() for key, tensor in graph.inputs.items()},
                "output": graph.output.model_dump(),
            }
            for name, graph in manifest.graphs.items()
        },
        "labels": manifest.labels,
        "metrics": [evaluation.model_dump() for evaluation in manifest.metrics],
    }


def json_response(content: dict[str, Any]) -> Response:
    """Answer with JSON."""
    return Response(json.dumps(content), media_type="application/json")


class Guard:
    """Turn whatever a contract raises into the one shape of errors, with an id that the log has too."""

    def __init__(self, app: ASGIApp, deadline: float = 25.0) -> None:
        self.app, self.deadline = app, deadline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        # With an app in its scope Starlette raises what it would else answer itself, as text.
        scope = {**scope, "app": self}
        try:
            async with asyncio.timeout(self.deadline):
                await self.app(scope, receive, send)
        except Refusal as refusal:
            await _refuse(refusal, scope, receive, send)
        except HTTPException as error:
            code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
            fault = Refusal(error.status_code, code, error.detail)
            await _refuse(fault, scope, receive, send, dict(error.headers or {}))
        except ClientDisconnect:
            pass
        except TimeoutError:
            late = Refusal(503, "too_late", f"no answer within {self.deadline:g} s; try again shortly")
            await _refuse(late, scope, receive, send)
        except Exception:
            failure = Refusal(500, "internal_error", "the server failed; its log has the request's id")
            await _refuse(failure, scope, receive, send)


async def _refuse(
    refusal: Refusal, scope: Scope, receive: Receive, send: Send, headers: dict[str, str] | None = None
) -> None:
    request_id = uuid.uuid4().hex
    if refusal.status >= 500:
        logger.error("request %s: %s", request_id, refusal.code, exc_info=True)
    headers = {"X-Request-Id": request_id} | (headers or {})
    if refusal.status in (429, 503):
        headers["Retry-After"] = "1"
    body = error_body(refusal, request_id)
    await Response(body, refusal.status, headers, "application/json")(scope, receive, send)
