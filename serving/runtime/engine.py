"""The inference engine: an artifact's graphs loaded by ONNX Runtime."""

import copy
import dataclasses
import functools
import logging
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.arrays import Array, Pixels
from serving.errors import EngineError, OutOfMemory, is_out_of_memory
from serving.imaging import codec
from serving.runtime.artifact import read_file, read_manifest
from serving.runtime.manifest import MANIFEST_FILE, Graph, Manifest, Precision, ProviderName
from serving.runtime.sessions import Options, choose_provider, open_session
from serving.runtime.tensor import Tensor
from serving.runtime.tiles import Rows, Tiling, is_large, rows
from serving.system.memory import SMALLER, available, in_units, requested

logger = logging.getLogger("ganzoo")


PIXELS, PIXEL_BYTES = 2**16, 512
"""Pixels per run when images are translated on the CPU, and the activations' bytes per pixel.

Larger runs exceed the CPU's caches: eight images of 256x256 then take a third longer. A graph whose file is
larger than the activations of one run gets larger runs, because each run reads all weights again."""


class Engine:
    """The ONNX Runtime sessions of one artifact, one per graph.

    Each session is created from the same bytes whose hash was checked. Of a graph's variants, only the file
    for the provider is read.

    Args:
        folder: the artifact's folder.
        provider: `cpu`; `cuda`, which fails if any part of a graph would run elsewhere; or `auto`, which is
            CUDA if there is an NVIDIA GPU that ONNX Runtime can use, else the CPU.
        precision: precision of the graphs; fp32 where the artifact has no such variant for the provider.
        options: options of ONNX Runtime.

    Raises:
        ManifestError: the manifest is missing or not of this format.
        EngineError: a file is missing or damaged, or the provider can't run it.
    """

    def __init__(
        self,
        folder: Path,
        provider: ProviderName = "auto",
        precision: Precision = "fp32",
        options: Options | None = None,
    ) -> None:
        self.manifest: Manifest = read_manifest(folder)
        self.options = options or Options()
        self._folder, self._precision = folder, precision
        self._lock, self._starved, self._closed = threading.Lock(), Counter[str](), False
        self.provider = choose_provider(provider)
        try:
            self._open()
        except EngineError as error:
            if provider != "auto" or choose_provider(provider) == "cpu":
                raise
            logger.warning(
                "CUDA can't be used for %s, which runs on the CPU instead: %s", self.manifest.name, error
            )
            self.provider = "cpu"
            self._open()
        self._must_match()

    def with_manifest(self, manifest: Manifest) -> "Engine | None":
        """Return an engine with another manifest and the same sessions; None if it names other files.

        Raises:
            EngineError: a file is missing or damaged, or the sessions do not match the manifest.
        """
        graphs = manifest.graphs.items()
        if {
            name: graph.variant_for(self.provider, self._precision) for name, graph in graphs
        } != self.variants:
            return None
        for variant in self.variants.values():
            read_file(self._folder, variant)
        other = copy.copy(self)
        other.manifest, other._starved = manifest, self._starved.copy()
        other._must_match()
        return other

    def _must_match(self) -> None:
        for name, session in self.sessions.items():
            must_match(session, name, self.manifest.graphs[name])

    def _open(self) -> None:
        provider, graphs = self.provider, self.manifest.graphs.items()
        self.buckets = self.options.buckets_on(provider)
        self.variants = {name: graph.variant_for(provider, self._precision) for name, graph in graphs}
        self.sessions, self._pixels = dict[str, Any](), dict[str, int]()
        self.batches = {name: self.options.batches_on(provider, graph.any_size) for name, graph in graphs}
        for name in self.variants:
            self._open_graph(name)

    def _open_graph(self, name: str) -> None:
        data = read_file(self._folder, self.variants[name])
        self._pixels[name] = max(PIXELS, len(data) // PIXEL_BYTES)
        self.sessions[name] = self._open_session(name, self.options, data)

    def _open_session(self, name: str, options: Options, data: bytes) -> Any:
        options = dataclasses.replace(options, threads=options.threads_of(self.batches[name]))
        try:
            return open_session(data, self.provider, options)
        except EngineError as error:
            raise EngineError(f"{self._folder / self.variants[name].file}: {error}") from error

    def run(self, graph: str, inputs: Mapping[str, Array]) -> Array:
        """Run a graph on inputs whose first dimension is the batch, and return its output.

        If there are buckets and the images have a fixed size, the batch is padded to the next bucket. Shapes
        and types must be those of the manifest; otherwise ONNX Runtime raises an error.

        Raises:
            OutOfMemory: the provider does not have enough memory for the batch. After the first such error
                in a row, the graph's session is opened again.
            EngineError: the engine is closed.
        """
        with self._lock:
            session = self.sessions.get(graph)
            self._must_be_open()
        failed = id(session)
        try:
            output = self._run(session, graph, inputs)
            self._starved[graph] = 0
            return output
        except Exception as error:  # ONNX Runtime's own errors share no class
            if not is_out_of_memory(error):
                raise
            said = str(error)
        del session  # frees it: this is the last reference, now that the error's traceback is gone
        self._start_anew(graph, failed)
        raise OutOfMemory(shortage(graph, inputs, said, available() if self.provider == "cpu" else None))

    def tiled(self, graph: str, image: Pixels, tile: int = 0) -> Rows | None:
        """Translate an image in tiles.

        Args:
            graph: the graph's name.
            image: pixels (H, W, C) of any size.
            tile: height and width in pixels of a tile with its margins; 0 chooses them.

        Returns:
            The translation, whose blocks raise OutOfMemory if a tile needs too much. None if no tile is
            given, and the image is not large.

        Raises:
            UserError: the graph can't be run in tiles, the tile is too small, or the engine is closed.
        """
        self._must_be_open()
        described = self.manifest.graphs[graph]
        spec, scale = described.inputs["image"], described.scale
        height, width = image.shape[:2]
        if not tile and not is_large(spec, scale, height, width):
            return None
        tiling = Tiling.of(spec, scale, tile)
        (padded,) = codec.pad(image[None], *spec.grid)
        shape = (scale * padded.shape[0], scale * padded.shape[1], described.output.size)
        return Rows(shape, self._rows(graph, padded, tiling)).cropped(scale * height, scale * width)

    def _rows(self, graph: str, image: Pixels, tiling: Tiling) -> Iterator[Pixels]:
        data = read_file(self._folder, self.variants[graph])
        options = dataclasses.replace(self.options, pattern=False)
        try:
            yield from rows(data, functools.partial(self._open_session, graph, options), image, tiling)
        except Exception as error:  # ONNX Runtime's own errors share no class
            if not is_out_of_memory(error):
                raise
            free = available() if self.provider == "cpu" else None
            tiled = {"image": image[None, : tiling.side, : tiling.side]}
            raise OutOfMemory(shortage(graph, tiled, str(error), free, "use smaller tiles")) from error

    def _must_be_open(self) -> None:
        if self._closed:
            raise EngineError(f"the pipeline of {self.manifest.name} is closed; load the artifact again")

    def close(self) -> None:
        """Free the sessions' memory as soon as the batches that are running are done."""
        with self._lock:
            self._closed = True
            self.sessions.clear()

    @property
    def is_starved(self) -> bool:
        """Whether a reopened session ran out of memory too and has run no batch since."""
        return any(count > 1 for count in self._starved.values())

    def _start_anew(self, graph: str, failed: int) -> None:
        """Reopen a graph's session to free its memory, once, unless another thread has done so."""
        with self._lock:
            if id(self.sessions.get(graph)) != failed:
                return
            self._starved[graph] += 1
            if self._starved[graph] > 1 and graph in self.sessions:
                return
            logger.info(
                "out of memory in the graph %s of %s; reopening its session", graph, self.manifest.name
            )
            self.sessions.pop(graph, None)
            try:
                self._open_graph(graph)
            except EngineError as error:
                self._starved[graph] += 1
                logger.error("the session of the graph %s can't be reopened: %s", graph, error)

    def _run(self, session: Any, graph: str, inputs: Mapping[str, Array]) -> Array:
        if session is None:
            raise OutOfMemory
        if self.manifest.graphs[graph].any_size:
            return self._translate(session, graph, inputs["image"])
        output: Array
        if not self.buckets:
            output = session.run(None, dict(inputs))[0]
            return output
        rows = len(next(iter(inputs.values())))
        size = next((bucket for bucket in self.buckets if bucket >= rows), rows)
        filled = {key: _fill(each, size) for key, each in inputs.items()}
        output = session.run(None, filled)[0]
        return output[:rows]

    def _translate(self, session: Any, graph: str, images: Array) -> Array:
        """Run images of any size: large ones in tiles, others on the CPU in parts of a few pixels."""
        large = [found.gathered() for image in images if (found := self.tiled(graph, image))]
        if large:
            return np.stack(large)
        _, height, width, _ = images.shape
        rows = max(1, self._pixels[graph] // (height * width)) if self.provider == "cpu" else len(images)
        parts = [images[first : first + rows] for first in range(0, len(images), rows)]
        outputs = [session.run(None, {"image": part})[0] for part in parts]
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)


def shortage(
    graph: str, inputs: Mapping[str, Array], said: str, free: int | None, advice: str = SMALLER
) -> str:
    """Return the message of a batch for which there is not enough memory.

    Args:
        graph: the graph's name.
        inputs: the batch.
        said: message of the provider, which may say how much it requested.
        free: bytes that are available to the process, if known.
        advice: what the user can do.
    """
    rows, *sizes = next(iter(inputs.values())).shape
    batch = f"a batch of {rows}"
    if len(sizes) == 3:
        batch = f"{rows} image{'s' * (rows > 1)} of {sizes[1]}x{sizes[0]} pixels"
    one = requested(said)
    facts = [f"one buffer alone needs {in_units(one)}"] if one else []
    facts += [f"{in_units(free)} are available for all"] if free is not None else []
    what = f"not enough memory for {batch} in the graph {graph}"
    return "; ".join([what, " and ".join(facts), advice] if facts else [what, advice])


def must_match(session: Any, name: str, graph: Graph) -> None:
    """Check the names, types and shapes of a loaded graph's inputs and output against its manifest.

    Raises:
        EngineError: they differ.
    """
    found = {node.name: _signature(node.type, node.shape) for node in session.get_inputs()}
    said = {key: _signature(_ort_type(tensor), tensor.shape) for key, tensor in graph.inputs.items()}
    outputs = [_signature(node.type, node.shape) for node in session.get_outputs()]
    output = _signature(_ort_type(graph.output), graph.output.shape)
    if found != said or outputs != [output]:
        raise EngineError(
            f"the graph {name} must have the inputs {said} and the output {output}, as in {MANIFEST_FILE}; "
            f"got the inputs {found} and the outputs {outputs}"
        )


def _signature(kind: str, shape: Sequence[int | str | None]) -> str:
    """Return a type and a shape as text, with `?` for variable sizes, which have names of any kind."""
    return f"{kind} ({', '.join(str(size) if isinstance(size, int) else '?' for size in shape)})"


def _fill(array: Array, rows: int) -> Array:
    """Pad an array to a number of rows by repeating its last row."""
    if len(array) == rows:
        return array
    return np.concatenate([array, np.repeat(array[-1:], rows - len(array), 0)])


def _ort_type(tensor: Tensor) -> str:
    return {"float32": "tensor(float)", "uint8": "tensor(uint8)", "int64": "tensor(int64)"}[tensor.dtype]
