"""Routes of the Open Inference Protocol (KServe v2, REST), for Triton's clients and other tools."""

import json
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.api.bodies import LARGE, in_thread_if, parse_body, read_body
from serving.api.open_inference.tensors import (
    DATATYPES,
    OUTPUT,
    InferRequest,
    read_inputs,
    shape_of,
    split,
    write_output,
)
from serving.api.responses import json_response, stopwatch_of
from serving.api.schemas import (
    IndexedModel,
    InferFailure,
    ModelMetadata,
    ModelReady,
    ServerLive,
    ServerMetadata,
    ServerReady,
    TensorMetadata,
)
from serving.errors import APIError, shown, unknown_model, unknown_version
from serving.repository.model import ServedModel
from serving.repository.repository import ModelRepository
from serving.runtime.tensor import Tensor
from serving.system.version import version

KINDS = ("application/json", "application/octet-stream", "")
"""Accepted media types; clients of the binary extension may send a body without one."""

MANY = 2**14
"""Numbers in an output above which its JSON is encoded in a thread."""


@dataclass
class OpenInference:
    """Routes of the protocol.

    An artifact with one graph is a model with the artifact's name. If an artifact has several graphs, each
    is a model NAME.GRAPH.
    """

    repository: ModelRepository

    def routes(self) -> list[Route]:
        """Return the routes, the most frequent one first."""
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
        """Return the server's name, version and protocol extensions."""
        extensions = ["binary_tensor_data"]
        return json_response(ServerMetadata(name="ganzoo", version=version(), extensions=extensions))

    async def server_live(self, request: Request) -> Response:
        """Check that the server is alive."""
        return json_response(ServerLive(live=True))

    async def server_ready(self, request: Request) -> Response:
        """Check that the server is ready."""
        ready = self.repository.state == "ready"
        return json_response(ServerReady(ready=ready), 200 if ready else 503)

    async def repository_index(self, request: Request) -> Response:
        """List the models."""
        models = [
            IndexedModel(name=name, version=model.version, state="READY", reason="").model_dump()
            for name, (model, _) in self._graphs().items()
        ]
        return Response(json.dumps(models), media_type="application/json")

    async def model_metadata(self, request: Request) -> Response:
        """Return the inputs and outputs of a model."""
        name, model, graph = self._find(request)
        spec = model.manifest.graphs[graph]
        return json_response(
            ModelMetadata(
                name=name,
                versions=[model.version],
                platform="onnxruntime_onnx",
                inputs=[_describe(key, tensor) for key, tensor in spec.inputs.items()],
                outputs=[_describe(OUTPUT, spec.output)],
            )
        )

    async def model_ready(self, request: Request) -> Response:
        """Check that a model is ready."""
        name, model, _ = self._find(request)
        ready = not model.engine.is_starved
        return json_response(ModelReady(name=name, ready=ready), 200 if ready else 503)

    async def infer(self, request: Request) -> Response:
        """Run a graph on tensors."""
        settings, stopwatch = self.repository.settings, stopwatch_of(request)
        name, model, graph = self._find(request)
        spec = model.manifest.graphs[graph]
        limit = max(settings.max_body, settings.max_upload)
        body = await read_body(request, limit, KINDS, self.repository.bodies)
        head, binary = split(request.headers, body)
        asked = await parse_body(InferRequest, head)
        _must_be_modest(asked, settings.max_images, settings.max_pixels // spec.scale**2)
        about = {"model_name": name, "model_version": model.version}
        about |= {} if asked.id is None else {"id": asked.id}
        with self.repository.uploads.hold() if spec.any_size else model.at_work.hold(asked.rows):
            inputs = await in_thread_if(len(head) > LARGE, read_inputs, asked, binary, spec.inputs)
            stopwatch.lap("parse")
            output = await model.run(graph, inputs, stopwatch=stopwatch)
            stopwatch.lap("engine")
            large = output.size > MANY and not asked.wants_binary
            content, headers = await in_thread_if(large, write_output, about, output, asked.wants_binary)
        stopwatch.lap("encode")
        said = {"X-Provenance": model.provenance.to_json()} if model.provenance else {}
        return Response(content, headers={**headers, **said})

    def _graphs(self) -> dict[str, tuple[ServedModel, str]]:
        """Return every graph, by its model name in the protocol."""
        return {
            name if len(model.engine.sessions) == 1 else f"{name}.{graph}": (model, graph)
            for name, model in self.repository.models.items()
            for graph in model.engine.sessions
        }

    def _find(self, request: Request) -> tuple[str, ServedModel, str]:
        """Return the name, the served model and the graph that a path names.

        Raises:
            APIError: `unknown_model` or `unknown_version` (404).
        """
        name = request.path_params["model"]
        there = self._graphs()
        if name not in there:
            raise unknown_model(name, there)
        model, graph = there[name]
        request.scope["model"] = model.name
        version = request.path_params.get("version", model.version)
        if version != model.version:
            raise unknown_version(version, name, model.version)
        return name, model, graph


def error_body(error: APIError, request_id: str) -> bytes:
    """Return an API error in the protocol's JSON format, where `error` is a string."""
    failure = InferFailure(error=str(error), code=error.code, request_id=request_id)
    return failure.model_dump_json().encode()


def _describe(name: str, tensor: Tensor) -> TensorMetadata:
    return TensorMetadata(name=name, datatype=DATATYPES[tensor.dtype], shape=shape_of(tensor))


def _must_be_modest(asked: InferRequest, max_images: int, max_pixels: int) -> None:
    """Check a request against the limits of the API, by the shapes of its tensors."""
    if [each.name for each in asked.outputs or []] not in ([], [OUTPUT]):
        names = shown([each.name for each in asked.outputs or []])
        raise APIError(
            400, "invalid_request", f"outputs must be {[OUTPUT]} or absent; got {names}", "outputs"
        )
    unknown = {"classification", "shared_memory_region"}
    if any(unknown & (each.parameters or {}).keys() for each in asked.outputs or []):
        text = f"outputs must not have the parameter {' or '.join(sorted(unknown))}, which is not supported"
        raise APIError(400, "invalid_request", text, "outputs")
    for each in asked.inputs:
        if each.shape and each.shape[0] > max_images:
            text = f"an input must have at most {max_images} rows; got {each.shape[0]}"
            raise APIError(400, "invalid_request", text, each.name)
        if len(each.shape) == 4 and each.shape[1] * each.shape[2] > max_pixels:
            text = f"an image must have at most {max_pixels} pixels; got {each.shape[2]}x{each.shape[1]}"
            raise APIError(413, "image_too_large", text, each.name)
