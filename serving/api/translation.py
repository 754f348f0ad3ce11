"""Route of models that translate: images to images of the same size."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from serving.api.bodies import read_upload
from serving.api.formats import Result
from serving.api.requests import TranslateRequest
from serving.api.responses import Stopwatch, model_for, respond
from serving.arrays import Pixels
from serving.errors import APIError, shown
from serving.imaging import codec
from serving.repository.model import ServedModel
from serving.repository.repository import ModelRepository
from serving.runtime.manifest import Manifest, Tensor


@dataclass
class TranslationRoutes:
    """The route of models that translate."""

    repository: ModelRepository

    decoders: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decoder")
    )
    """Threads that decode uploads, so that a slow image delays no other response."""

    async def translate(self, request: Request) -> Response:
        """Translate an image of any size to one of the same size."""
        stopwatch = Stopwatch()
        model = model_for(request, self.repository, "translate")
        model.must_be_quick()  # before the image is read and decoded
        with self.repository.uploads.hold():
            asked, data = await read_upload(request, self.repository.settings.max_upload)
            result, graph = await self.draw(model, asked, data, stopwatch)
            return await respond(model, result, asked.format, stopwatch, {"X-Direction": graph})

    async def draw(
        self, model: ServedModel, asked: TranslateRequest, data: bytes, stopwatch: Stopwatch
    ) -> tuple[Result, str]:
        """Translate the encoded image of a request, and return the direction too.

        Raises:
            APIError: `invalid_request`, `broken_image` (400), `unsupported_image` (415), `image_too_large`
                (413) or `busy` (429).
        """
        graph = graph_of(asked, model.manifest)
        spec = model.manifest.graphs[graph].inputs["image"]
        most, loop = self.repository.settings.max_pixels, asyncio.get_running_loop()
        size, padded = await loop.run_in_executor(self.decoders, _prepare, data, spec, most)
        stopwatch.lap("parse")
        output = await model.run(graph, {"image": padded})
        stopwatch.lap("engine")
        height, width = size
        about = {"model": model.name, "version": model.version, "direction": graph}
        return Result(output[:, :height, :width], about, [graph]), graph


def _prepare(data: bytes, spec: Tensor, max_pixels: int) -> tuple[tuple[int, int], Pixels]:
    """Decode an image for a graph: its height and width, and its padded pixels as a batch of one."""
    pixels = codec.decode(data, spec.size, max_pixels=max_pixels, grid=spec.grid)
    return (pixels.shape[0], pixels.shape[1]), codec.pad(pixels[None], *spec.grid)


def graph_of(request: TranslateRequest, manifest: Manifest) -> str:
    """Return the graph of the requested direction, by default the first.

    Raises:
        APIError: `invalid_request` (400), there is no such direction.
    """
    graph = next(iter(manifest.graphs)) if request.direction is None else request.direction
    if graph not in manifest.graphs:
        there = " or ".join(manifest.graphs)
        text = f"direction must be {there}; got {shown(graph)}"
        raise APIError(400, "invalid_request", text, "direction")
    return graph
