"""A served model: an artifact's engine, with a batcher for each of its graphs."""

import functools
import sys
from pathlib import Path

import numpy as np

from serving.arrays import Array
from serving.errors import APIError, EngineError, busy
from serving.metrics import BATCH_ROWS, ENGINE_SECONDS, QUEUE_ROWS
from serving.repository.admission import Admission
from serving.repository.batcher import Batcher
from serving.runtime.engine import Engine, OutOfMemory
from serving.runtime.manifest import Graph, Manifest, Tensor
from serving.runtime.sessions import Options
from serving.settings import Settings


class ServedModel:
    """An artifact's engine, with a batcher for each of its graphs."""

    def __init__(self, name: str, engine: Engine, settings: Settings) -> None:
        self.name, self.engine = name, engine
        self.at_work = Admission(settings.max_queue)
        """Images that are waiting, running or being encoded."""

        self.batchers = {
            graph: Batcher(
                functools.partial(engine.run, graph),
                settings.max_batch,
                settings.max_queue,
                _most_numbers(spec, settings),
                settings.max_queue_seconds,
                engine.batches[graph],
                BatchMetrics(name, graph),
            )
            for graph, spec in engine.manifest.graphs.items()
        }

    @property
    def manifest(self) -> Manifest:
        """The artifact's manifest."""
        return self.engine.manifest

    @functools.cached_property
    def version(self) -> str:
        """The artifact's version, and its precision if not fp32; both determine the image of a seed."""
        smaller = sorted({file.precision for file in self.engine.variants.values()} - {"fp32"})
        return "-".join([self.manifest.version, *smaller])

    def must_be_quick(self) -> None:
        """Check that at least one graph has a short enough queue.

        Raises:
            APIError: `busy` (429), the queueing time of every graph is too long.
        """
        if all(batcher.is_slow for batcher in self.batchers.values()):
            raise busy()

    async def run(self, graph: str, inputs: dict[str, Array]) -> Array:
        """Run rows through a graph, in batches with the rows of other requests.

        Raises:
            APIError: `busy` (429), `out_of_memory` (503), or `invalid_request` (400), the output is not
                finite.
        """
        try:
            output = await self.batchers[graph].submit(inputs)
        except OutOfMemory as error:
            text = "there is not enough memory for this request; try again later, or send less"
            raise APIError(503, "out_of_memory", text) from error
        if output.dtype.kind == "f" and not np.isfinite(output).all():
            text = "latents must give finite outputs; got infinity or NaN; use smaller numbers"
            raise APIError(400, "invalid_request", text, "latents")
        return output


class BatchMetrics:
    """The Prometheus metrics of one batcher."""

    def __init__(self, model: str, graph: str) -> None:
        self._rows, self._seconds = BATCH_ROWS.labels(model, graph), ENGINE_SECONDS.labels(model, graph)
        self._waiting = QUEUE_ROWS.labels(model, graph)

    def batch(self, rows: int, seconds: float) -> None:
        """Record the rows of a batch that was run, and its duration in seconds."""
        self._rows.observe(rows)
        self._seconds.observe(seconds)

    def waiting(self, rows: int) -> None:
        """Record the number of rows that are waiting."""
        self._waiting.set(rows)


def _most_numbers(graph: Graph, settings: Settings) -> int:
    """Return the maximum of numbers in a batch, which is limited for input images only."""
    images = [tensor for tensor in graph.inputs.values() if tensor.meaning == "image"]
    return min((settings.max_batch_pixels * tensor.size for tensor in images), default=sys.maxsize)


def load_model(folder: Path, settings: Settings) -> ServedModel:
    """Load an artifact and warm it.

    Raises:
        ManifestError: the manifest is missing or not of this format.
        EngineError: the artifact can't be served.
    """
    options = Options(threads=settings.threads, batches=settings.concurrent_batches, rows=settings.max_batch)
    engine = Engine(folder, settings.provider, settings.precision, options)
    warm(engine, settings.max_batch)
    return ServedModel(folder.name, engine, settings)


def warm(engine: Engine, rows: int) -> None:
    """Run every graph with one row, with a full batch and in every bucket.

    Memory is then allocated and convolutions are planned before the first request.

    Raises:
        EngineError: a graph fails.
    """
    try_out(engine, {1, rows, *engine.buckets})


def try_out(engine: Engine, sizes: set[int]) -> None:
    """Run every graph with zeros in batches of some sizes, or on one small image if it takes any size.

    Raises:
        EngineError: a graph fails.
    """
    for name, graph in engine.manifest.graphs.items():
        for size in {1} if graph.any_size else sizes:
            inputs = {key: _zeros(tensor, size) for key, tensor in graph.inputs.items()}
            try:
                engine.run(name, inputs)
            except Exception as error:  # ONNX Runtime's own errors share no class
                raise EngineError(
                    f"the graph {name} of {engine.manifest.name} can't be run: {error}"
                ) from error


def _zeros(tensor: Tensor, rows: int) -> Array:
    _, least = tensor.grid
    sizes = [size if isinstance(size, int) else least for size in tensor.shape[1:]]
    return np.zeros((rows, *sizes), tensor.dtype)
