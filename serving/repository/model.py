"""A served model: an artifact's engine, with a batcher for each of its graphs."""

import functools
import logging
import math
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from serving.arrays import Array
from serving.errors import APIError, EngineError, OutOfMemory, busy, out_of_memory
from serving.metrics import BATCH_ROWS, ENGINE_SECONDS, QUEUE_ROWS
from serving.repository.admission import Admission
from serving.repository.batcher import Batcher
from serving.runtime.artifact import read_manifest
from serving.runtime.engine import Engine
from serving.runtime.load import provenance_of, version_of
from serving.runtime.manifest import Graph, Manifest
from serving.runtime.sessions import Options
from serving.runtime.trial import must_work, real_inputs
from serving.settings import Settings
from serving.system.stopwatch import Stopwatch

logger = logging.getLogger("ganzoo")


class ServedModel:
    """An artifact's engine, with a batcher for each of its graphs."""

    def __init__(self, name: str, engine: Engine, settings: Settings) -> None:
        self.name, self.engine = name, engine
        self.provenance = provenance_of(engine, settings.credentials) if settings.provenance else None
        """What its images say of themselves; None if they say nothing."""

        self.at_work = Admission(settings.max_queue)
        """Images that are waiting, running or being encoded."""

        self.batchers = {
            graph: Batcher(
                functools.partial(_run, engine, graph),
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
        """The artifact's version, as `version_of` has it."""
        return version_of(self.engine)

    def must_be_quick(self) -> None:
        """Check that at least one graph has a short enough queue.

        Raises:
            APIError: `busy` (429), the queueing time of every graph is too long.
        """
        if not any(batcher.admits() for batcher in self.batchers.values()):
            raise busy()

    def must_admit(self, graph: str, rows: int) -> None:
        """Check that so many rows may be submitted to a graph, before they are made.

        Raises:
            APIError: `busy` (429), the estimated queueing time is too long.
        """
        inputs = self.manifest.graphs[graph].inputs.values()
        if not self.batchers[graph].admits(
            rows * sum(math.prod(map(int, each.shape[1:])) for each in inputs)
        ):
            raise busy()

    async def run(
        self,
        graph: str,
        inputs: dict[str, Array],
        admitted: bool = False,
        stopwatch: Stopwatch | None = None,
    ) -> Array:
        """Run rows through a graph, in batches with the rows of other requests.

        Args:
            graph: name of the graph.
            inputs: its inputs.
            admitted: whether the graph's batcher has admitted the request already.
            stopwatch: receiver of the times in the queue, in the batch and in the engine.

        Raises:
            APIError: `busy` (429), `out_of_memory` (503), or `invalid_request` (400), the output is not
                finite.
        """
        try:
            output = await self.batchers[graph].submit(inputs, admitted, stopwatch)
        except OutOfMemory as error:
            raise out_of_memory() from error
        if output.dtype.kind == "f" and not np.isfinite(output).all():
            text = "latents must give finite outputs; got infinity or NaN; use smaller numbers"
            raise APIError(400, "invalid_request", text, "latents")
        return output


def _run(engine: Engine, graph: str, inputs: Mapping[str, Array]) -> Array:
    """Run a batch; the log, and no response, says what memory it needs and what the machine has."""
    try:
        return engine.run(graph, inputs)
    except OutOfMemory as error:
        logger.warning("%s: %s", engine.manifest.name, error)
        raise


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


def load_model(folder: Path, settings: Settings, present: ServedModel | None = None) -> ServedModel:
    """Load an artifact, try it and warm it; if only its manifest has changed, its sessions are kept.

    Args:
        folder: the artifact's folder.
        settings: the server's settings.
        present: the model that is served from this folder, if there is one.

    Raises:
        ManifestError: the manifest is missing or not of this format.
        EngineError: the artifact can't be served.
    """
    kept = present.engine.with_manifest(read_manifest(folder)) if present else None
    if kept is not None:
        must_work(kept.manifest, kept.run)
        return ServedModel(folder.name, kept, settings)
    options = Options(threads=settings.threads, batches=settings.concurrent_batches, rows=settings.max_batch)
    engine = Engine(folder, settings.provider, settings.precision, options)
    must_work(engine.manifest, engine.run)
    warm(engine, settings.max_batch)
    return ServedModel(folder.name, engine, settings)


def warm(engine: Engine, rows: int) -> None:
    """Run every graph with a full batch and in every bucket, unless it takes images of any size.

    Memory is then allocated and convolutions are planned before the first request.

    Raises:
        EngineError: a graph can't be run.
    """
    for name, graph in engine.manifest.graphs.items():
        for size in () if graph.any_size else (rows, *engine.buckets):
            run_once(engine, name, size)


def run_once(engine: Engine, name: str, rows: int = 1) -> None:
    """Run a graph on a batch.

    Raises:
        EngineError: the graph can't be run.
    """
    try:
        engine.run(name, real_inputs(engine.manifest.graphs[name], rows))
    except Exception as error:  # ONNX Runtime's own errors share no class
        raise EngineError(f"the graph {name} can't be run: {error}") from error
