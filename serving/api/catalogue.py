"""Routes that describe the server: its models, health, metrics and API documentation."""

import asyncio
import json
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.api.openapi import document
from serving.api.responses import json_response, model_for
from serving.api.schemas import Alive, GraphSummary, Limits, ModelList, ModelSummary, Ready
from serving.metrics import report
from serving.repository.model import ServedModel
from serving.repository.repository import ModelRepository


@dataclass
class Catalogue:
    """Routes of the models, health, metrics and API documentation."""

    repository: ModelRepository

    routes: list[Route] = field(default_factory=list)
    """All routes of the API, for the OpenAPI document."""

    async def list_models(self, request: Request) -> Response:
        """List the served models, and the limits of requests."""
        settings = self.repository.settings
        models = [_summary(model) for model in self.repository.models.values()]
        limits = Limits(images=settings.max_images, upload=settings.max_upload, pixels=settings.max_pixels)
        return json_response(ModelList(models=models, limits=limits))

    async def show_model(self, request: Request) -> Response:
        """Return the manifest of a model."""
        return Response(model_for(request, self.repository).manifest.to_json(), media_type="application/json")

    async def alive(self, request: Request) -> Response:
        """Check that the process is alive."""
        return json_response(Alive(status="alive"))

    async def ready(self, request: Request) -> Response:
        """Check that models are ready, and return their providers and the artifacts that can't be served."""
        providers = {model.name: model.engine.provider for model in self.repository.models.values()}
        state = self.repository.state
        ready = Ready(status=state, models=providers, refused=dict(self.repository.faults))
        return json_response(ready, 200 if state == "ready" else 503)

    async def metrics(self, request: Request) -> Response:
        """Return the metrics for Prometheus."""
        content, kind = await asyncio.to_thread(report)
        return Response(content, headers={"Content-Type": kind})

    async def openapi(self, request: Request) -> Response:
        """Return this OpenAPI document."""
        content = document(self.routes, bool(self.repository.settings.all_keys))
        return Response(json.dumps(content), media_type="application/json")


def _summary(model: ServedModel) -> ModelSummary:
    manifest = model.manifest
    return ModelSummary(
        name=model.name,
        version=model.version,
        entry=manifest.entry,
        task=manifest.task,
        provider=model.engine.provider,
        files={name: variant.file for name, variant in model.engine.variants.items()},
        graphs={
            name: GraphSummary(inputs=graph.inputs, output=graph.output)
            for name, graph in manifest.graphs.items()
        },
        labels=manifest.labels,
        metrics=manifest.metrics,
    )
