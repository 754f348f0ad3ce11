"""An artifact loaded by ONNX Runtime: arrays in, arrays out."""

import ctypes
import hashlib
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from serving import manifest
from serving.manifest import Manifest, Tensor
from serving.settings import ProviderName

logger = logging.getLogger("ganzoo")

Array = NDArray[Any]

MAX_SEED = 2**53 - 1
"""Seeds are whole numbers that every JSON reader carries exactly."""


class EngineError(ValueError):
    """An artifact can't be run: its files are not what its manifest says, or the provider is not there."""


class Engine:
    """The sessions of one artifact, one a graph, loaded from the very bytes that were hashed.

    Args:
        folder: the artifact.
        provider: `cpu`; `cuda`, refused if any part of a graph would run elsewhere; or `auto`, CUDA where
            there is an NVIDIA GPU and ONNX Runtime can use it, else the CPU.

    Raises:
        ManifestError: the manifest is missing or not of this format.
        EngineError: a file is missing or damaged, or the provider can't run it.
    """

    def __init__(self, folder: Path, provider: ProviderName = "auto") -> None:
        self.manifest: Manifest = manifest.read(folder)
        models = {name: _read(folder, graph.variants[0]) for name, graph in self.manifest.graphs.items()}
        self.provider = choose_provider(provider)
        try:
            self.sessions = _open_all(models, self.provider)
        except EngineError as error:
            if provider != "auto" or self.provider == "cpu":
                raise
            logger.warning("running %s on the CPU: %s", self.manifest.name, error)
            self.provider = "cpu"
            self.sessions = _open_all(models, self.provider)
        for name, session in self.sessions.items():
            self._must_match(name, session)

    def run(self, graph: str, inputs: Mapping[str, Array]) -> Array:
        """Run a graph on inputs whose first dimension is the batch; give its output.

        Shapes and types are those of the manifest; ONNX Runtime raises where they are not.
        """
        output: Array = self.sessions[graph].run(None, dict(inputs))[0]
        return output

    def _must_match(self, name: str, session: Any) -> None:
        """Hold a loaded graph against its manifest: names and types of its ends."""
        graph = self.manifest.graphs[name]
        found = {node.name: node.type for node in session.get_inputs()}
        said = {key: _ort_type(tensor) for key, tensor in graph.inputs.items()}
        outputs = [node.type for node in session.get_outputs()]
        if found != said or outputs != [_ort_type(graph.output)]:
            raise EngineError(
                f"the graph {name} of {self.manifest.name} takes {found} and gives {outputs}; its manifest "
                f"says {said} and {_ort_type(graph.output)}"
            )


def draw_inputs(specs: Mapping[str, Tensor], seeds: list[int], label: int | None = None) -> dict[str, Array]:
    """Draw what a generator wants for some seeds, a row each: `latent`, and `label` where it is told one.

    Args:
        specs: the graph's inputs, by name.
        seeds: whole numbers from 0 to MAX_SEED.
        label: the class of every row; by default a seed's class is its remainder by the number of classes.

    Raises:
        EngineError: an input is nothing that can be drawn.
    """
    return {name: _draw(spec, seeds, label) for name, spec in specs.items()}


def _draw(spec: Tensor, seeds: list[int], label: int | None) -> Array:
    match spec.meaning:
        case "latent":
            return draw_latents(spec.size, seeds, spec.distribution or "normal")
        case "label":
            classes = [seed % spec.classes if label is None else label for seed in seeds]
            return np.array(classes, np.int64)
        case _:
            raise EngineError(f"an input of the meaning {spec.meaning} can't be drawn")


def draw_latents(
    size: int, seeds: list[int], distribution: Literal["normal", "uniform"] = "normal"
) -> NDArray[np.float32]:
    """Draw one latent a seed: float32 (len(seeds), size).

    The latent of a seed is the first `size` float32 numbers of NumPy's Philox keyed by the seed, standard
    normal, or uniform from 0 to 1 and stretched to -sqrt(3) to sqrt(3); so a seed names a picture, whatever
    batch it is in, and any client can draw the same.
    """
    latents = np.empty((len(seeds), size), np.float32)
    for row, seed in zip(latents, seeds, strict=True):
        numbers = np.random.Generator(np.random.Philox(key=seed))
        draw = numbers.standard_normal if distribution == "normal" else numbers.random
        draw(dtype=np.float32, out=row)
    if distribution == "uniform":
        latents = (latents - np.float32(0.5)) * np.float32(math.sqrt(12))
    return latents


def choose_provider(name: ProviderName) -> Literal["cpu", "cuda"]:
    """Settle on a provider.

    Raises:
        EngineError: CUDA is asked for and is not there.
    """
    missing = _cuda_missing()
    match name:
        case "cpu":
            return "cpu"
        case "cuda" if missing:
            raise EngineError(f"CUDA is asked for and can't be used: {missing}")
        case _:
            return "cpu" if missing else "cuda"


def _cuda_missing() -> str | None:
    """Say what keeps CUDA from being used, None where nothing does."""
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return "this ONNX Runtime is built without it (onnxruntime-gpu has it)"
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return "the NVIDIA driver finds no GPU"
    return None


def open_session(model: bytes, provider: Literal["cpu", "cuda"]) -> Any:
    """Open one graph on a provider, and only there.

    Raises:
        EngineError: the provider can't be loaded, or can't run all of the graph.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    providers: list[Any] = ["CPUExecutionProvider"]
    if provider == "cuda":
        ort.preload_dlls()
        # Without this, nodes that CUDA can't run, or all of them, fall to the CPU in silence.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        providers = [("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"})]
    try:
        session = ort.InferenceSession(model, options, providers=providers)
    except Exception as error:  # ONNX Runtime's own errors share no class
        raise EngineError(f"{provider.upper()} can't run this graph: {error}") from error
    if provider == "cuda" and "CUDAExecutionProvider" not in session.get_providers():
        raise EngineError("CUDA could not be loaded; ONNX Runtime's message above says why")
    return session


def _open_all(models: dict[str, bytes], provider: Literal["cpu", "cuda"]) -> dict[str, Any]:
    return {name: open_session(model, provider) for name, model in models.items()}


def _read(folder: Path, variant: manifest.Variant) -> bytes:
    try:
        data = (folder / variant.file).read_bytes()
    except OSError as error:
        raise EngineError(f"{folder / variant.file} can't be read ({error.strerror})") from error
    if hashlib.sha256(data).hexdigest() != variant.sha256:
        raise EngineError(f"{folder / variant.file} is damaged: its SHA-256 is not the manifest's")
    return data


def _ort_type(tensor: Tensor) -> str:
    return {"float32": "tensor(float)", "uint8": "tensor(uint8)", "int64": "tensor(int64)"}[tensor.dtype]
