"""ONNX Runtime's sessions: on which provider, and with which options."""

import ctypes
import os
import platform
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import onnxruntime as ort

from serving.errors import EngineError
from serving.runtime.manifest import ProviderName
from serving.system.cpu import cores

BUCKETS = (1, 2, 4, 8, 16, 32, 64)
"""CUDA plans a convolution for one shape at a time; of so many batches it can keep the plans."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How ONNX Runtime runs a graph; the defaults are what measured best, or are needed for parity."""

    threads: int = 0
    """Threads on the CPU; 0 is one for each core."""

    batches: int = 1
    """Batches that run at once on the CPU, each on its part of the threads; 0 is one for each thread, but one
    alone of graphs that take images of any size."""

    spinning: bool = True
    """Whether threads on the CPU wait for one another busily within a run; between two they never do."""

    convolutions: Literal["HEURISTIC", "EXHAUSTIVE", "DEFAULT"] = "HEURISTIC"
    """How cuDNN's algorithms are chosen: EXHAUSTIVE tries them at every new shape."""

    tf32: bool = False
    """Whether CUDA may round the factors of float32 products to 10 bits; parity is then lost."""

    nhwc: bool = False
    """Whether convolutions on CUDA run channels last."""

    memory: int | None = None
    """Bytes that CUDA may hold at most."""

    rows: int = 64
    """Rows in a batch at most."""

    buckets: tuple[int, ...] | None = None
    """Sizes that batches are filled up to, ascending; by default none on the CPU, and BUCKETS on CUDA."""

    def threads_of(self, batches: int) -> int:
        """Give the threads of one of so many batches."""
        if batches > 1:
            return max(1, (self.threads or cores()) // batches)
        return self.threads or (cores() if cores() < (os.cpu_count() or 1) else 0)

    def batches_on(self, provider: Literal["cpu", "cuda"], any_size: bool) -> int:
        """Give how many batches of a graph run at once."""
        if provider == "cuda":
            return 1
        most = self.threads or cores()
        return min(self.batches, most) if self.batches else 1 if any_size else most

    def buckets_on(self, provider: Literal["cpu", "cuda"]) -> tuple[int, ...]:
        """Give the sizes that batches are filled up to on a provider."""
        if self.buckets is not None:
            return self.buckets
        return (*(size for size in BUCKETS if size < self.rows), self.rows) if provider == "cuda" else ()


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


def open_session(model: bytes, provider: Literal["cpu", "cuda"], options: Options | None = None) -> Any:
    """Open one graph on a provider, and only there.

    Raises:
        EngineError: the provider can't be loaded, or can't run all of the graph.
    """
    options = options or Options()
    session_options = ort.SessionOptions()
    session_options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session_options.log_severity_level = 3
    session_options.intra_op_num_threads = options.threads
    session_options.add_session_config_entry("session.x64quantprecision", str(int(bytes_saturate())))
    session_options.add_session_config_entry("session.intra_op.allow_spinning", str(int(options.spinning)))
    session_options.add_session_config_entry("session.force_spinning_stop", "1")
    providers: list[Any] = ["CPUExecutionProvider"]
    if provider == "cuda":
        ort.preload_dlls()  # the packages' CUDA and cuDNN, which then need not be torch's
        # Without this, nodes that CUDA can't run, or all of them, fall to the CPU in silence.
        session_options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        providers = [("CUDAExecutionProvider", cuda_options(options))]
    try:
        session = ort.InferenceSession(model, session_options, providers=providers)
    except Exception as error:  # ONNX Runtime's own errors share no class
        raise EngineError(f"{provider.upper()} can't run this graph: {error}") from error
    if provider == "cuda" and "CUDAExecutionProvider" not in session.get_providers():
        raise EngineError("CUDA could not be loaded; ONNX Runtime's message above says why")
    session.disable_fallback()
    session._model_bytes = None  # the file, kept for the change of providers that is now disabled
    _give_back()
    return session


@cache
def bytes_saturate(processor: Path = Path("/proc/cpuinfo")) -> bool:
    """Tell an x86 processor whose sums of products of bytes saturate: one without VNNI, or unknown.

    There ONNX Runtime must take its exact way, which is half as fast.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    return not processor.exists() or "vnni" not in processor.read_text()


def _give_back() -> None:
    """Let the C library return what loading a graph took: with the file, twice the weights."""
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):  # glibc's
        library.malloc_trim(0)


def cuda_options(options: Options) -> dict[str, str]:
    """Name the options as ONNX Runtime does."""
    chosen = {
        "cudnn_conv_algo_search": options.convolutions,
        "use_tf32": str(int(options.tf32)),
        "prefer_nhwc": str(int(options.nhwc)),
        "arena_extend_strategy": "kSameAsRequested",
    }
    return chosen if options.memory is None else chosen | {"gpu_mem_limit": str(options.memory)}
