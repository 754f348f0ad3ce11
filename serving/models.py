"""The models a server holds: every artifact of a folder, loaded, warmed and ready to batch."""

import functools
import logging
import sys
import threading
from pathlib import Path

import numpy as np

from serving.batcher import Batcher
from serving.engine import Array, Engine
from serving.errors import Refusal
from serving.manifest import Graph, Manifest, Tensor
from serving.metrics import BATCH_ROWS, ENGINE_SECONDS, MODELS, QUEUE_ROWS, RELOADS
from serving.sessions import EngineError, Options
from serving.settings import Settings

logger = logging.getLogger("ganzoo")

Stamp = tuple[tuple[str, int, int, int], ...]
"""What tells a folder's content from what it was: name, inode, size and time of every file."""


class Model:
    """An artifact at work: its engine, and a batcher for each of its graphs."""

    def __init__(self, name: str, engine: Engine, settings: Settings) -> None:
        self.name, self.engine = name, engine
        self.batchers = {
            graph: Batcher(
                functools.partial(engine.run, graph),
                settings.max_batch,
                settings.max_queue,
                _most_numbers(spec, settings),
                Notes(name, graph),
            )
            for graph, spec in engine.manifest.graphs.items()
        }

    @property
    def manifest(self) -> Manifest:
        """The artifact's label."""
        return self.engine.manifest

    async def run(self, graph: str, inputs: dict[str, Array]) -> Array:
        """Run rows through a graph, in batches with whoever else is asking."""
        return await self.batchers[graph].submit(inputs)


class Notes:
    """What a batcher tells the metrics."""

    def __init__(self, model: str, graph: str) -> None:
        self._rows, self._seconds = BATCH_ROWS.labels(model, graph), ENGINE_SECONDS.labels(model, graph)
        self._waiting = QUEUE_ROWS.labels(model, graph)

    def __call__(self, rows: int, seconds: float, waiting: int) -> None:
        """Note a batch that was run, how long it took, and the rows that wait by now."""
        self._rows.observe(rows)
        self._seconds.observe(seconds)
        self._waiting.set(waiting)


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
        self.settings = settings
        self.models: dict[str, Model] = {}
        self.faults: dict[str, str] = {}
        """Why a folder's newest content is not served."""

        self._stamps: dict[str, Stamp] = {}
        self._missing: set[str] = set()

    def load(self) -> None:
        """Load every artifact of the folder.

        Raises:
            EngineError: there is none, or one can't be served; it is named.
            ManifestError: one's manifest is not of this format.
        """
        root = self.settings.artifacts
        if not root.is_dir():
            raise EngineError(f"there is no folder {root}; `ganzoo export RUN` makes an artifact")
        folders = artifact_folders(root)
        if not folders:
            raise EngineError(f"{root} holds no artifact; `ganzoo export RUN` makes one")
        for folder in folders:
            self._stamps[folder.name] = _stamp(folder)
            self.models[folder.name] = load_model(folder, self.settings)
        MODELS.set(len(self.models))

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
            self.models.pop(name, None)
            self.faults.pop(name, None)
            self._stamps.pop(name, None)
            logger.info("%s is gone and no longer served", name)
        self._missing = gone
        MODELS.set(len(self.models))

    def _reload(self, folder: Path) -> None:
        name = folder.name
        try:
            model = load_model(folder, self.settings)
        except ValueError as error:
            self.faults[name] = str(error)
            RELOADS.labels("refused").inc()
            logger.error("%s is not loaded: %s", name, error)
            return
        self.faults.pop(name, None)
        self.models[name] = model
        RELOADS.labels("loaded").inc()
        logger.info("%s is now served as version %s", name, model.manifest.version)

    def keep_fresh(self, stop: threading.Event) -> None:
        """Refresh every `reload` seconds until told to stop."""
        while not stop.wait(self.settings.reload):
            try:
                self.refresh()
            except OSError as error:
                logger.error("artifacts can't be looked at: %s", error)

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
    options = Options(threads=settings.threads, rows=settings.max_batch)
    engine = Engine(folder, settings.provider, settings.precision, options)
    warm(engine, settings.max_batch)
    return Model(folder.name, engine, settings)


def artifact_folders(folder: Path) -> list[Path]:
    """List the artifacts of a folder: its subfolders but hidden ones and those still being written."""
    names = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(path for path in names if path.suffix not in (".partial", ".old"))


def _stamp(folder: Path) -> Stamp:
    """Take the stamp of a folder; empty if it goes away meanwhile."""
    try:
        files = [(path.name, path.stat()) for path in sorted(folder.iterdir())]
    except FileNotFoundError:
        return ()
    return tuple((name, file.st_ino, file.st_size, file.st_mtime_ns) for name, file in files)


def warm(engine: Engine, rows: int) -> None:
    """Run every graph alone, full and in every bucket: the first request then finds memory and plans made.

    A graph of images of any size is run alone, on a small one.

    Raises:
        EngineError: a graph fails.
    """
    for name, graph in engine.manifest.graphs.items():
        for size in {1} if graph.any_size else {1, rows, *engine.buckets}:
            inputs = {key: _zeros(tensor, size) for key, tensor in graph.inputs.items()}
            try:
                engine.run(name, inputs)
            except Exception as error:  # ONNX Runtime's own errors share no class
                raise EngineError(f"the graph {name} of {engine.manifest.name} fails: {error}") from error


def _zeros(tensor: Tensor, rows: int) -> Array:
    _, least = tensor.grid
    sizes = [size if isinstance(size, int) else least for size in tensor.shape[1:]]
    return np.zeros((rows, *sizes), tensor.dtype)
