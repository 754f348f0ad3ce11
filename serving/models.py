"""The models a server holds: every artifact of a folder, loaded, warmed and ready to batch."""

import functools
import sys
from pathlib import Path

import numpy as np

from serving.batcher import Batcher
from serving.engine import Array, Engine
from serving.manifest import Graph, Manifest, Tensor
from serving.sessions import EngineError, Options
from serving.settings import Settings


class Model:
    """An artifact at work: its engine, and a batcher for each of its graphs."""

    def __init__(self, name: str, engine: Engine, settings: Settings) -> None:
        self.name, self.engine = name, engine
        self.batchers = {
            name: Batcher(
                functools.partial(engine.run, name),
                settings.max_batch,
                settings.max_queue,
                _most_numbers(graph, settings),
            )
            for name, graph in engine.manifest.graphs.items()
        }

    @property
    def manifest(self) -> Manifest:
        """The artifact's label."""
        return self.engine.manifest

    async def run(self, graph: str, inputs: dict[str, Array]) -> Array:
        """Run rows through a graph, in batches with whoever else is asking."""
        return await self.batchers[graph].submit(inputs)

    def close(self) -> None:
        """Let running batches finish."""
        for batcher in self.batchers.values():
            batcher.close()


def _most_numbers(graph: Graph, settings: Settings) -> int:
    """Give how many numbers a batch may have: of images that vary in size, of no others."""
    images = [tensor for tensor in graph.inputs.values() if tensor.meaning == "image"]
    return min((settings.max_batch_pixels * tensor.size for tensor in images), default=sys.maxsize)


def load_models(settings: Settings) -> dict[str, Model]:
    """Load every artifact of the settings' folder, by the names of their folders.

    Raises:
        EngineError: there is none, or one can't be served; it is named.
        ManifestError: one's manifest is not of this format.
    """
    if not settings.artifacts.is_dir():
        raise EngineError(f"there is no folder {settings.artifacts}; `ganzoo export RUN` makes an artifact")
    folders = artifact_folders(settings.artifacts)
    if not folders:
        raise EngineError(f"{settings.artifacts} holds no artifact; `ganzoo export RUN` makes one")
    models = {}
    for folder in folders:
        engine = Engine(
            folder,
            settings.provider,
            settings.precision,
            Options(threads=settings.threads, rows=settings.max_batch),
        )
        warm(engine, settings.max_batch)
        models[folder.name] = Model(folder.name, engine, settings)
    return models


def artifact_folders(folder: Path) -> list[Path]:
    """List the artifacts of a folder: its subfolders but hidden ones and those still being written."""
    names = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(path for path in names if path.suffix not in (".partial", ".old"))


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
