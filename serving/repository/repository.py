"""The models a server holds: every artifact of a folder, loaded, warmed and ready to batch."""

import contextlib
import functools
import logging
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from serving.errors import Refusal, busy
from serving.metrics import BATCH_ROWS, ENGINE_SECONDS, MODELS, QUEUE_ROWS, RELOADS
from serving.repository.admission import Admission
from serving.repository.batcher import Batcher
from serving.runtime import manifest
from serving.runtime.engine import Array, Engine, OutOfMemory
from serving.runtime.manifest import Graph, Manifest, Tensor
from serving.runtime.sessions import EngineError, Options
from serving.settings import Settings

logger = logging.getLogger("ganzoo")

Item = TypeVar("Item")

Stamp = tuple[tuple[str, int, int, int], ...]
"""What tells a folder's content from what it was: name, inode, size and time of every file."""


class Model:
    """An artifact at work: its engine, and a batcher for each of its graphs."""

    def __init__(self, name: str, engine: Engine, settings: Settings) -> None:
        self.name, self.engine = name, engine
        self.at_work = Admission(settings.max_queue)
        """Pictures that wait, run or are being encoded."""

        self.batchers = {
            graph: Batcher(
                functools.partial(engine.run, graph),
                settings.max_batch,
                settings.max_queue,
                _most_numbers(spec, settings),
                settings.patience,
                engine.batches[graph],
                Notes(name, graph),
            )
            for graph, spec in engine.manifest.graphs.items()
        }

    @property
    def manifest(self) -> Manifest:
        """The artifact's label."""
        return self.engine.manifest

    @functools.cached_property
    def version(self) -> str:
        """The artifact's version, and the arithmetic where it is not fp32: what makes a seed's picture."""
        smaller = sorted({file.precision for file in self.engine.variants.values()} - {"fp32"})
        return "-".join([self.manifest.version, *smaller])

    def must_be_quick(self) -> None:
        """Check that there is a graph for which nobody would have to wait for long.

        Raises:
            Refusal: `busy` (429), there is none.
        """
        if all(batcher.is_slow for batcher in self.batchers.values()):
            raise busy()

    async def run(self, graph: str, inputs: dict[str, Array]) -> Array:
        """Run rows through a graph, in batches with whoever else is asking.

        Raises:
            Refusal: `busy` (429), `out_of_memory` (503), or `invalid_request` (400), the inputs are out of
                any range.
        """
        try:
            output = await self.batchers[graph].submit(inputs)
        except OutOfMemory as error:
            raise Refusal(503, "out_of_memory", "there is no memory for this; try again, or less") from error
        if output.dtype.kind == "f" and not np.isfinite(output).all():
            raise Refusal(400, "invalid_request", "what comes of these latents is not finite", "latents")
        return output


class Notes:
    """What a batcher tells the metrics."""

    def __init__(self, model: str, graph: str) -> None:
        self._rows, self._seconds = BATCH_ROWS.labels(model, graph), ENGINE_SECONDS.labels(model, graph)
        self._waiting = QUEUE_ROWS.labels(model, graph)

    def batch(self, rows: int, seconds: float) -> None:
        """Note a batch that was run, and how long it took."""
        self._rows.observe(rows)
        self._seconds.observe(seconds)

    def waiting(self, rows: int) -> None:
        """Note how many rows wait by now."""
        self._waiting.set(rows)


def _most_numbers(graph: Graph, settings: Settings) -> int:
    """Give how many numbers a batch may have: of images that vary in size, of no others."""
    images = [tensor for tensor in graph.inputs.values() if tensor.meaning == "image"]
    return min((settings.max_batch_pixels * tensor.size for tensor in images), default=sys.maxsize)


class Zoo:
    """All models, by the names of their folders; while they serve, artifacts may come, change and go.

    A request holds the model that it has found: whatever is loaded meanwhile, its answer is of one version. A
    model that has been replaced lives as long as its last request.
    """

    def __init__(self, settings: Settings) -> None:
        self.configure(settings)
        self.models: Mapping[str, Model] = {}
        self.faults: Mapping[str, str] = {}
        """Why a folder's newest content is not served. Both are exchanged, never changed: others read."""

        self._stamps: dict[str, Stamp] = {}
        self._missing: set[str] = set()
        self._leaving = False

    def configure(self, settings: Settings) -> None:
        """Take the settings that models are loaded with from now on, and the limits on what is at work."""
        self.settings = settings
        self.uploads = Admission(settings.max_uploads)
        """Images at work."""

    def load(self) -> None:
        """Load every artifact of the folder; what can't be served is noted in `faults`.

        Raises:
            EngineError: there is none that can be served.
        """
        root = self.settings.artifacts
        if not root.is_dir():
            raise EngineError(f"there is no folder {root}; `ganzoo export RUN` makes an artifact")
        if not artifact_folders(root):
            raise EngineError(f"{root} holds no artifact; `ganzoo export RUN` makes one")
        self.refresh()
        if not self.models:
            raise EngineError(next(iter(self.faults.values())))

    @property
    def state(self) -> str:
        """Say whether there is something to ask: `ready`, or `empty`, `out of memory` or `leaving`."""
        starved = any(model.engine.is_starved for model in self.models.values())
        state = "out of memory" if starved else "ready" if self.models else "empty"
        return "leaving" if self._leaving else state

    def leave(self) -> None:
        """Say from now on that the server is not ready: it is about to end."""
        self._leaving = True

    def refresh(self) -> None:
        """Load what has come or changed since the last look, and let go of what is gone.

        What can't be served is left as it was, noted in `faults`, and tried again when it changes.
        """
        folders = artifact_folders(self.settings.artifacts)
        for folder in folders:
            stamp = _stamp(folder)
            if stamp and stamp != self._stamps.get(folder.name):
                self._stamps[folder.name] = stamp
                self._reload(folder)
        there = {folder.name for folder in folders}
        gone = (self.models.keys() | self.faults.keys()) - there
        # An artifact that is being replaced is away for a moment: only who misses two looks is gone.
        for name in gone & self._missing:
            self.models, self.faults = _without(self.models, name), _without(self.faults, name)
            self._stamps.pop(name, None)
            logger.info("%s is gone and no longer served", name)
        self._missing = gone
        MODELS.set(len(self.models))
        for model in self.models.values():
            if model.engine.is_starved:
                with contextlib.suppress(EngineError):
                    try_out(model.engine, {1})

    def _reload(self, folder: Path) -> None:
        name = folder.name
        try:
            label, at_work = manifest.read(folder), self.models.get(name)
            if at_work is not None and at_work.manifest.version == label.version:
                at_work.engine.manifest = label  # the same graphs, and a score more
            else:
                self.models = {**self.models, name: load_model(folder, self.settings)}
                RELOADS.labels("loaded").inc()
                logger.info("%s is served as version %s", name, label.version)
        except Exception as error:  # whatever a foreign file makes of its readers
            self.faults = {**self.faults, name: str(error).replace(str(folder), name)}
            RELOADS.labels("refused").inc()
            logger.error("%s is not loaded: %s", name, error)
            return
        self.faults = _without(self.faults, name)

    def keep_fresh(self, stop: threading.Event) -> None:
        """Refresh every `reload` seconds until told to stop."""
        while not stop.wait(self.settings.reload):
            try:
                self.refresh()
            except Exception:
                logger.exception("artifacts can't be looked at")

    def find(self, name: str, task: str | None = None) -> Model:
        """Look a model up by its name, which no path is ever made of.

        Raises:
            Refusal: `unknown_model` (404) or `wrong_task` (400).
        """
        model = self.models.get(name)
        if model is None:
            there = ", ".join(self.models)
            raise Refusal(404, "unknown_model", f"there is no such model; there are {there}")
        if task not in (None, model.manifest.task):
            does = {"sample": "samples", "translate": "translates images"}[model.manifest.task]
            raise Refusal(400, "wrong_task", f"{name} {does}; ask for /{model.manifest.task}")
        return model


def load_model(folder: Path, settings: Settings) -> Model:
    """Load an artifact, and warm it.

    Raises:
        ManifestError: its manifest is not of this format.
        EngineError: it can't be served.
    """
    options = Options(threads=settings.threads, batches=settings.batches, rows=settings.max_batch)
    engine = Engine(folder, settings.provider, settings.precision, options)
    warm(engine, settings.max_batch)
    return Model(folder.name, engine, settings)


def artifact_folders(folder: Path) -> list[Path]:
    """List the artifacts of a folder: its subfolders but hidden ones and those still being written."""
    names = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(path for path in names if path.suffix not in (".partial", ".old"))


def _without(items: Mapping[str, Item], name: str) -> dict[str, Item]:
    return {key: item for key, item in items.items() if key != name}


def _stamp(folder: Path) -> Stamp:
    """Take the stamp of a folder; empty if it can't be read, or goes away meanwhile."""
    try:
        files = [(path.name, path.stat()) for path in sorted(folder.iterdir())]
    except OSError:
        return ()
    return tuple((name, file.st_ino, file.st_size, file.st_mtime_ns) for name, file in files)


def warm(engine: Engine, rows: int) -> None:
    """Run every graph alone, full and in every bucket: the first request then finds memory and plans made.

    Raises:
        EngineError: a graph fails.
    """
    try_out(engine, {1, rows, *engine.buckets})


def try_out(engine: Engine, sizes: set[int]) -> None:
    """Run every graph in batches of some sizes; one of images of any size alone, on a small one.

    Raises:
        EngineError: a graph fails.
    """
    for name, graph in engine.manifest.graphs.items():
        for size in {1} if graph.any_size else sizes:
            inputs = {key: _zeros(tensor, size) for key, tensor in graph.inputs.items()}
            try:
                engine.run(name, inputs)
            except Exception as error:  # ONNX Runtime's own errors share no class
                raise EngineError(f"the graph {name} of {engine.manifest.name} fails: {error}") from error


def _zeros(tensor: Tensor, rows: int) -> Array:
    _, least = tensor.grid
    sizes = [size if isinstance(size, int) else least for size in tensor.shape[1:]]
    return np.zeros((rows, *sizes), tensor.dtype)
