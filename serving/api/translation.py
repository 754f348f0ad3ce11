"""Route of models that translate: images to images of the same size, or of a multiple of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from serving.api.bodies import read_upload
from serving.api.formats import Result
from serving.api.requests import TranslateRequest
from serving.api.responses import hold_encoder, model_for, respond, stopwatch_of
from serving.arrays import Pixels
from serving.errors import APIError, shown
from serving.imaging import codec
from serving.repository.model import ServedModel
from serving.repository.repository import ModelRepository
from serving.runtime.manifest import Manifest
from serving.runtime.tensor import Tensor
from serving.system.stopwatch import Stopwatch

DECODE_SECONDS = 5.0
"""Maximum seconds for decoding an image, once a thread has begun."""


@dataclass
class TranslationRoutes:
    """The route of models that translate."""

    repository: ModelRepository

    async def translate(self, request: Request) -> Response:
        """Translate an image of any size to one of the same size, or of a multiple of it."""
        stopwatch = stopwatch_of(request)
        model = model_for(request, self.repository, "translate")
        model.must_be_quick()  # before the image is read
        limit, bodies = self.repository.settings.max_upload, self.repository.bodies
        asked, data = await read_upload(request, limit, bodies)
        return await self.respond_to(model, asked, data, stopwatch)

    async def respond_to(
        self, model: ServedModel, asked: TranslateRequest, data: bytes, stopwatch: Stopwatch
    ) -> Response:
        """Translate the encoded image of a request and encode the result.

        Raises:
            APIError: `invalid_request`, `broken_image` (400), `unsupported_image` (415), `image_too_large`
                (413) or `busy` (429).
        """
        if not data:
            raise APIError(400, "invalid_request", "image must not be empty; got 0 bytes", "image")
        graph = graph_of(asked, model.manifest)
        spec, scale = model.manifest.graphs[graph].inputs["image"], model.manifest.graphs[graph].scale
        most = self.repository.settings.max_pixels // scale**2
        with self.repository.uploads.hold(), model.batchers[graph].expect():
            with self.repository.decoders.hold("image", len(data), DECODE_SECONDS) as do, _in_time():
                (height, width), padded = await do(_prepare, data, spec, most)
            stopwatch.lap("parse")
            height, width = scale * height, scale * width
            with hold_encoder(self.repository.encoders, asked.format, height * width) as do:
                output = await model.run(graph, {"image": padded}, admitted=True, stopwatch=stopwatch)
                stopwatch.lap("engine")
                about = {"model": model.name, "version": model.version, "direction": graph}
                provenance = model.provenance and model.provenance.of(direction=graph)
                result = Result(output[:, :height, :width], about, [graph], provenance=provenance)
                return await respond(model, result, asked.format, stopwatch, do, {"X-Direction": graph})


@contextmanager
def _in_time() -> Iterator[None]:
    """Convert the error of decoding for too long to an API error."""
    try:
        yield
    except TimeoutError:
        text = f"an image must be decoded within {DECODE_SECONDS:g} s; it takes longer"
        raise APIError(400, "broken_image", text) from None


def _prepare(data: bytes, spec: Tensor, max_pixels: int) -> tuple[tuple[int, int], Pixels]:
    """Decode an image for a graph: its height and width, and its padded pixels as a batch of one."""
    pixels = codec.decode(
        data, spec.size, max_pixels=max_pixels, grid=spec.grid, value_range=spec.value_range
    )
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
