"""The Open Inference Protocol (KServe v2, REST): any graph by its tensors, for Triton's clients and tools."""

import asyncio
import json
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.answers import json_response
from serving.errors import Refusal
from serving.manifest import Graph, Tensor
from serving.models import Model, Zoo
from serving.requests import parse_body, read_body
from serving.tensors import DATATYPES, OUTPUT, InferRequest, read_inputs, shape_of, split, write_output

KINDS = ("application/json", "application/octet-stream", "application/vnd.sagemaker-triton.binary+json*", "")
"""What a body may be called; clients of the binary extension call it nothing in particular."""

MANY = 2**14
"""Numbers from which JSON is written in another thread."""


@dataclass
class OpenInference:
    """The protocol's routes. A model of one graph has its artifact's name; of several, NAME.GRAPH each."""

    zoo: Zoo

    def routes(self) -> list[Route]:
        """List the routes, the hot one first."""
        routes = []
        for prefix in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            routes += [
                Route(f"{prefix}/infer", self.infer, methods=["POST"]),
                Route(f"{prefix}/ready", self.model_ready),
                Route(prefix, self.model_metadata),
            ]
        return [
            *routes,
            Route("/v2", self.server_metadata),
            Route("/v2/health/live", self.server_live),
            Route("/v2/health/ready", self.server_ready),
            Route("/v2/repository/index", self.repository_index, methods=["POST"]),
        ]

    async def server_metadata(self, request: Request) -> Response:
        """Say who serves, and which extensions of the protocol it knows."""
        extensions = ["binary_tensor_data", "model_repository"]
        return json_response({"name": "ganzoo", "version": _version(), "extensions": extensions})

    async def server_live(self, request: Request) -> Response:
        """Say that the process answers."""
        return json_response({"live": True})

    async def server_ready(self, request: Request) -> Response:
        """Say whether there are models to ask."""
        ready = bool(self.zoo.models)
        return json_response({"ready": ready}, 200 if ready else 503)

    async def repository_index(self, request: Request) -> Response:
        """List the models."""
        models = [
            {"name": name, "version": model.manifest.version, "state": "READY", "reason": ""}
            for name, (model, _) in self._graphs().items()
        ]
        return Response(json.dumps(models), media_type="application/json")

    async def model_metadata(self, request: Request) -> Response:
        """Describe a model's tensors."""
        name, model, graph = self._find(request)
        spec = model.manifest.graphs[graph]
        return json_response(
            {
                "name": name,
                "versions": [model.manifest.version],
                "platform": "onnxruntime_onnx",
                "inputs": [_describe(key, tensor) for key, tensor in spec.inputs.items()],
                "outputs": [_describe(OUTPUT, spec.output)],
            }
        )

    async def model_ready(self, request: Request) -> Response:
        """Say that a model can be asked."""
        name, _, _ = self._find(request)
        return json_response({"name": name, "ready": True})

    async def infer(self, request: Request) -> Response:
        """Run a graph on tensors."""
        settings = self.zoo.settings
        name, model, graph = self._find(request)
        spec = model.manifest.graphs[graph]
        limit = max(settings.max_body, settings.max_upload)
        body = await read_body(request, limit, KINDS)
        head, binary = split(request.headers, body)
        asked = parse_body(InferRequest, head)
        if [each.name for each in asked.outputs] not in ([], [OUTPUT]):
            raise Refusal(400, "invalid_request", f"the one output is {OUTPUT}", "outputs")
        inputs = read_inputs(asked, binary, spec.inputs)
        _must_be_few(inputs, spec, settings.max_images, settings.max_pixels)
        output = await model.run(graph, inputs)
        about = {"model_name": name, "model_version": model.manifest.version}
        about |= {} if asked.id is None else {"id": asked.id}
        if asked.wants_binary or output.size < MANY:
            content, headers = write_output(about, output, asked.wants_binary)
        else:
            content, headers = await asyncio.to_thread(write_output, about, output, False)
        return Response(content, headers=headers)

    def _graphs(self) -> dict[str, tuple[Model, str]]:
        """Name every graph as the protocol's models."""
        return {
            name if len(model.engine.sessions) == 1 else f"{name}.{graph}": (model, graph)
            for name, model in self.zoo.models.items()
            for graph in model.engine.sessions
        }

    def _find(self, request: Request) -> tuple[str, Model, str]:
        """Look up the graph that a path names.

        Raises:
            Refusal: `unknown_model` or `unknown_version` (404).
        """
        name = request.path_params["model"]
        there = self._graphs()
        if name not in there:
            raise Refusal(404, "unknown_model", f"there is no such model; there are {', '.join(there)}")
        model, graph = there[name]
        request.scope["model"] = model.name
        if request.path_params.get("version", model.manifest.version) != model.manifest.version:
            raise Refusal(404, "unknown_version", f"{name} is of version {model.manifest.version}")
        return name, model, graph


def error_body(refusal: Refusal, request_id: str) -> bytes:
    """Write a refusal as the protocol does: the error is a text."""
    return json.dumps({"error": str(refusal), "code": refusal.code, "request_id": request_id}).encode()


def _describe(name: str, tensor: Tensor) -> dict[str, Any]:
    return {"name": name, "datatype": DATATYPES[tensor.dtype], "shape": shape_of(tensor)}


def _must_be_few(inputs: dict[str, Any], spec: Graph, max_images: int, max_pixels: int) -> None:
    """Hold tensors to the limits of every other route."""
    rows = len(next(iter(inputs.values())))
    if rows > max_images:
        raise Refusal(400, "invalid_request", f"a request may have {max_images} rows at most", "inputs")
    if spec.any_size:
        _, height, width, _ = inputs["image"].shape
        if height * width > max_pixels:
            raise Refusal(413, "image_too_large", f"an image may have {max_pixels} pixels", "image")


def _version() -> str:
    try:
        return version("gan-zoo")
    except PackageNotFoundError:  # within a Bento there is only the code
        return "unknown"
