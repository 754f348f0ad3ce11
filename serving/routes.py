"""The HTTP contract: what each path answers, and the one shape of everything that goes wrong."""

import asyncio
import base64
import io
import json
import logging
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from serving import images
from serving.engine import Array
from serving.errors import Refusal
from serving.models import Model
from serving.requests import SampleRequest, error_body, inputs_of, parse_sample, read_body
from serving.settings import Settings

logger = logging.getLogger("ganzoo")


@dataclass
class Contract:
    """The routes over a server's models."""

    models: dict[str, Model] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)

    def router(self) -> Router:
        """Make the ASGI app of the routes."""
        return Router(
            [
                Route("/v1/models", self.list_models),
                Route("/v1/models/{model}", self.show_model),
                Route("/v1/models/{model}/sample", self.sample, methods=["POST"]),
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
        start = time.perf_counter()
        model = self._model(request)
        if model.manifest.task != "sample":
            raise Refusal(400, "wrong_task", f"{model.name} translates images; it does not sample")
        asked = parse_sample(await read_body(request.headers, request.stream(), self.settings.max_body))
        ((graph, spec),) = model.manifest.graphs.items()
        inputs, seeds = inputs_of(asked, spec, model.manifest.labels, self.settings.max_images)
        ran = time.perf_counter()
        output = await model.run(graph, inputs)
        encoding = time.perf_counter()
        body, kind = await asyncio.to_thread(_encode, asked, output, model, seeds)
        done = time.perf_counter()
        timings = {"parse": ran - start, "engine": encoding - ran, "encode": done - encoding}
        headers = {
            "X-Model-Version": model.manifest.version,
            "Server-Timing": ", ".join(f"{name};dur={1e3 * took:.2f}" for name, took in timings.items()),
        }
        if seeds:
            headers["X-Seed"] = str(seeds[0])
        return Response(body, headers=headers, media_type=kind)

    async def alive(self, request: Request) -> Response:
        """Say that the process answers."""
        return json_response({"status": "alive"})

    async def ready(self, request: Request) -> Response:
        """Say that the models are loaded, and where they run."""
        providers = {model.name: model.engine.provider for model in self.models.values()}
        return json_response({"status": "ready", "models": providers})

    def _model(self, request: Request) -> Model:
        """Look a model up by the path's name; a path is never made of it."""
        name = request.path_params["model"]
        if name not in self.models:
            raise Refusal(404, "unknown_model", f"there is no such model; there are {', '.join(self.models)}")
        return self.models[name]


def _encode(asked: SampleRequest, output: Array, model: Model, seeds: list[int]) -> tuple[bytes, str]:
    """Write a graph's output in the format asked for: the bytes and their media type."""
    manifest = model.manifest
    match asked.format:
        case "npy":
            file = io.BytesIO()
            np.save(file, output, allow_pickle=False)
            return file.getvalue(), "application/x-npy"
        case "json":
            content = {"model": model.name, "version": manifest.version, "seeds": seeds or None}
            return json.dumps(content | _as_json(output)).encode(), "application/json"
        case "png":
            (graph,) = manifest.graphs.values()
            columns = len(manifest.labels) if asked.label is None else 0
            picture = images.picture(output, graph.output.range, columns)
            return images.encode_png(picture), "image/png"


def _as_json(output: Array) -> dict[str, Any]:
    if output.ndim == 2:
        return {"vectors": output.tolist()}
    return {"images": [base64.b64encode(images.encode_png(image)).decode() for image in output]}


def _summary(model: Model) -> dict[str, Any]:
    manifest = model.manifest
    return {
        "name": model.name,
        "version": manifest.version,
        "entry": manifest.entry,
        "task": manifest.task,
        "provider": model.engine.provider,
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
