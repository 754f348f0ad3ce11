"""An artifact loaded by ONNX Runtime: arrays in, arrays out."""

import dataclasses
import logging
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from serving.arrays import Array
from serving.errors import EngineError
from serving.runtime.artifact import read_file, read_manifest
from serving.runtime.manifest import Graph, Manifest, Precision, ProviderName, Tensor
from serving.runtime.sessions import Options, choose_provider, open_session

logger = logging.getLogger("ganzoo")


PIXELS, PIXEL_BYTES = 2**16, 512
"""Of images that are translated at once on the CPU: more leave its caches, and eight of 256x256 then take a
third longer. A graph whose weights are larger than what so many make of them, at so many bytes each, has
more: every part reads the weights anew."""


NO_MEMORY = ("failed to allocate", "out of memory", "alloc_failed", "bad_alloc")
"""What ONNX Runtime, CUDA, cuBLAS and C++ say where there is no memory."""


class OutOfMemory(RuntimeError):
    """The provider has no memory for a batch."""


class Engine:
    """The sessions of one artifact, one a graph, loaded from the very bytes that were hashed.

    Of a graph's variants, the one made for the provider is taken; the other files are not read.

    Args:
        folder: the artifact.
        provider: `cpu`; `cuda`, refused if any part of a graph would run elsewhere; or `auto`, CUDA where
            there is an NVIDIA GPU and ONNX Runtime can use it, else the CPU.
        precision: of the arithmetic, where the artifact has such a variant for the provider; else fp32.
        options: ONNX Runtime's.

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
        self._lock, self._starved = threading.Lock(), Counter[str]()
        self.provider = choose_provider(provider)
        try:
            self._open()
        except EngineError as error:
            if provider != "auto" or choose_provider(provider) == "cpu":
                raise
            logger.warning("running %s on the CPU: %s", self.manifest.name, error)
            self.provider = "cpu"
            self._open()
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
        threads = self.options.threads_of(self.batches[name])
        options = dataclasses.replace(self.options, threads=threads)
        self.sessions[name] = open_session(data, self.provider, options)

    def run(self, graph: str, inputs: Mapping[str, Array]) -> Array:
        """Run a graph on inputs whose first dimension is the batch; give its output.

        Batches are filled up to the next bucket, where there are any and the images have one size.
        Shapes and types are those of the manifest; ONNX Runtime raises where they are not.

        Raises:
            OutOfMemory: the provider has none for such a batch; if it had for the one before, the graph's
                session has been opened anew.
        """
        with self._lock:
            session = self.sessions.get(graph)
        failed = id(session)
        try:
            output = self._run(session, graph, inputs)
            self._starved[graph] = 0
            return output
        except Exception as error:  # ONNX Runtime's own errors share no class
            said = str(error)
            if not any(words in said.lower() for words in NO_MEMORY):
                raise
        del session  # by here nothing holds it: an error does, by its traceback
        self._start_anew(graph, failed)
        raise OutOfMemory(said)

    @property
    def is_starved(self) -> bool:
        """Tell whether a graph's new session too had no memory, and has run nothing since."""
        return any(count > 1 for count in self._starved.values())

    def _start_anew(self, graph: str, failed: int) -> None:
        """Open a graph's session again, once, unless another thread has: what it held is then free."""
        with self._lock:
            if id(self.sessions.get(graph)) != failed:
                return
            self._starved[graph] += 1
            if self._starved[graph] > 1 and graph in self.sessions:
                return
            logger.warning("no memory for %s of %s; its session is opened anew", graph, self.manifest.name)
            self.sessions.pop(graph, None)
            try:
                self._open_graph(graph)
            except EngineError as error:
                self._starved[graph] += 1
                logger.error("%s can't be opened anew: %s", graph, error)

    def _run(self, session: Any, graph: str, inputs: Mapping[str, Array]) -> Array:
        if session is None:
            raise OutOfMemory(f"out of memory: {graph} could not be opened anew")
        if self.manifest.graphs[graph].any_size:
            return self._translate(session, inputs["image"], self._pixels[graph])
        output: Array
        if not self.buckets:
            output = session.run(None, dict(inputs))[0]
            return output
        rows = len(next(iter(inputs.values())))
        size = next((bucket for bucket in self.buckets if bucket >= rows), rows)
        filled = {key: _fill(each, size) for key, each in inputs.items()}
        output = session.run(None, filled)[0]
        return output[:rows]

    def _translate(self, session: Any, images: Array, pixels: int) -> Array:
        """Run images of any size: on the CPU only so many pixels at once."""
        _, height, width, _ = images.shape
        rows = max(1, pixels // (height * width)) if self.provider == "cpu" else len(images)
        parts = [images[first : first + rows] for first in range(0, len(images), rows)]
        outputs = [session.run(None, {"image": part})[0] for part in parts]
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)


def must_match(session: Any, name: str, graph: Graph) -> None:
    """Hold a loaded graph against its manifest: names and types of its ends.

    Raises:
        EngineError: they differ.
    """
    found = {node.name: node.type for node in session.get_inputs()}
    said = {key: _ort_type(tensor) for key, tensor in graph.inputs.items()}
    outputs = [node.type for node in session.get_outputs()]
    if found != said or outputs != [_ort_type(graph.output)]:
        raise EngineError(
            f"the graph {name} takes {found} and gives {outputs}; its manifest says {said} and "
            f"{_ort_type(graph.output)}"
        )


def _fill(array: Array, rows: int) -> Array:
    """Repeat the last row until there are so many."""
    if len(array) == rows:
        return array
    return np.concatenate([array, np.repeat(array[-1:], rows - len(array), 0)])


def _ort_type(tensor: Tensor) -> str:
    return {"float32": "tensor(float)", "uint8": "tensor(uint8)", "int64": "tensor(int64)"}[tensor.dtype]
