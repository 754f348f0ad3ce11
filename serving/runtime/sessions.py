"""ONNX Runtime sessions: choice of the provider, and session options."""

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
from serving.runtime.onnx_file.weights import must_be_inside
from serving.system.cpu import cores

NOWHERE = os.devnull
"""Folder in which ONNX Runtime may look for external data; it is none, so that nothing can be found."""

BUCKETS = (1, 2, 4, 8, 16, 32, 64)
"""Batch sizes on CUDA: it plans each convolution per shape, and keeps the plans of this many shapes."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ONNX Runtime; the defaults measured fastest, or are required for parity."""

    threads: int = 0
    """CPU threads; 0 means one per core."""

    batches: int = 1
    """Batches that run at once on the CPU, each on its share of the threads; 0 means one per thread, but only
    one for graphs whose images may have any size."""

    spinning: bool = True
    """Whether CPU threads busy-wait for one another within a run; they never do between runs."""

    convolutions: Literal["HEURISTIC", "EXHAUSTIVE", "DEFAULT"] = "HEURISTIC"
    """How cuDNN's algorithms are chosen; EXHAUSTIVE tries all of them for every new shape."""

    tf32: bool = False
    """Whether CUDA may use TF32: float32 products of factors rounded to 10 bits, which breaks parity."""

    nhwc: bool = False
    """Whether convolutions on CUDA run in channels-last layout."""

    pattern: bool = True
    """Whether a shape that comes again gets its memory in one block, beside the blocks of its first run."""

    memory: int | None = None
    """Maximum number of bytes that CUDA may allocate; None is no limit."""

    rows: int = 64
    """Maximum number of rows in a batch."""

    buckets: tuple[int, ...] | None = None
    """Ascending sizes that batches are padded to; by default none on the CPU, and BUCKETS on CUDA."""

    def threads_of(self, batches: int) -> int:
        """Return the threads of each of so many concurrent batches; 0 leaves it to ONNX Runtime."""
        if batches > 1:
            return max(1, (self.threads or cores()) // batches)
        return self.threads or (cores() if cores() < (os.cpu_count() or 1) else 0)

    def batches_on(self, provider: Literal["cpu", "cuda"], any_size: bool) -> int:
        """Return the number of batches of a graph that run at once."""
        if provider == "cuda":
            return 1
        most = self.threads or cores()
        return min(self.batches, most) if self.batches else 1 if any_size else most

    def buckets_on(self, provider: Literal["cpu", "cuda"]) -> tuple[int, ...]:
        """Return the sizes that batches are padded to on a provider."""
        if self.buckets is not None:
            return self.buckets
        return (*(size for size in BUCKETS if size < self.rows), self.rows) if provider == "cuda" else ()


def choose_provider(name: ProviderName) -> Literal["cpu", "cuda"]:
    """Resolve a requested provider to `cpu` or `cuda`.

    Raises:
        EngineError: CUDA was requested and can't be used.
    """
    missing = _cuda_missing()
    match name:
        case "cpu":
            return "cpu"
        case "cuda" if missing:
            raise EngineError(f"the provider cuda can't be used: {missing}; use cpu or auto")
        case _:
            return "cpu" if missing else "cuda"


def _cuda_missing() -> str | None:
    """Return why CUDA can't be used, or None if it can."""
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return "this ONNX Runtime is built without CUDA (install onnxruntime-gpu)"
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return "the NVIDIA driver finds no GPU"
    return None


def open_session(model: bytes, provider: Literal["cpu", "cuda"], options: Options | None = None) -> Any:
    """Open a session that runs all of a graph on one provider.

    Raises:
        EngineError: the graph has weights outside of its file, or the provider can't be loaded, or can't run
            all of the graph.
    """
    must_be_inside(model)
    options = options or Options()
    session_options = ort.SessionOptions()
    session_options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session_options.log_severity_level = 4  # errors are raised, and need not be printed too
    session_options.add_session_config_entry("session.load_model_format", "ONNX")
    session_options.add_session_config_entry("session.model_external_initializers_file_folder_path", NOWHERE)
    session_options.intra_op_num_threads = options.threads
    session_options.add_session_config_entry("session.x64quantprecision", str(int(bytes_saturate())))
    session_options.enable_mem_pattern = options.pattern
    session_options.add_session_config_entry("session.intra_op.allow_spinning", str(int(options.spinning)))
    session_options.add_session_config_entry("session.force_spinning_stop", "1")
    providers: list[Any] = ["CPUExecutionProvider"]
    if provider == "cuda":
        ort.preload_dlls()  # loads CUDA and cuDNN from their packages, so that torch is not needed
        # Without this, nodes that CUDA can't run, or all nodes, silently run on the CPU.
        session_options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        providers = [("CUDAExecutionProvider", cuda_options(options))]
    try:
        session = ort.InferenceSession(model, session_options, providers=providers)
    except Exception as error:  # ONNX Runtime's own errors share no class
        raise EngineError(f"the provider {provider} can't run this graph: {error}") from error
    if provider == "cuda" and "CUDAExecutionProvider" not in session.get_providers():
        raise EngineError("the provider cuda could not be loaded; see the message of ONNX Runtime above")
    session.disable_fallback()
    session._model_bytes = None  # frees the file, which was kept for the fallback disabled above
    _trim_heap()
    return session


@cache
def bytes_saturate(processor: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether sums of int8 products saturate: on x86 processors without VNNI, or unknown ones.

    On these, ONNX Runtime must use its exact int8 kernels, which are half as fast.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    return not processor.exists() or "vnni" not in processor.read_text()


def _trim_heap() -> None:
    """Return the memory used for loading a graph to the system; with the file, it is twice the weights."""
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):  # glibc's
        library.malloc_trim(0)


def cuda_options(options: Options) -> dict[str, str]:
    """Return the options of ONNX Runtime's CUDA provider."""
    chosen = {
        "cudnn_conv_algo_search": options.convolutions,
        "use_tf32": str(int(options.tf32)),
        "prefer_nhwc": str(int(options.nhwc)),
        "arena_extend_strategy": "kSameAsRequested",
    }
    return chosen if options.memory is None else chosen | {"gpu_mem_limit": str(options.memory)}
