import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from serving.errors import EngineError
from serving.runtime import sessions
from serving.runtime.engine import Engine
from serving.runtime.sessions import Options, choose_provider


def test_cuda_that_is_not_there_is_refused_and_auto_does_without(monkeypatch):
    monkeypatch.setattr(sessions, "_cuda_missing", lambda: "there is no NVIDIA driver")
    assert choose_provider("auto") == choose_provider("cpu") == "cpu"
    with pytest.raises(EngineError, match="no NVIDIA driver"):
        choose_provider("cuda")
    monkeypatch.setattr(sessions, "_cuda_missing", lambda: None)
    assert choose_provider("auto") == choose_provider("cuda") == "cuda"


def test_an_onnx_runtime_without_cuda_is_told_apart_from_a_machine_without(monkeypatch):
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(EngineError, match="built without CUDA"):
        choose_provider("cuda")


def test_options_reach_onnx_runtime(artifacts):
    session = Engine(artifacts / "pictures", "cpu", options=Options(threads=1, spinning=False)).sessions
    options = session["generator"].get_session_options()
    assert options.intra_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_models_that_sample_run_a_batch_on_each_thread(artifacts):
    options = Options(threads=6, batches=0)
    assert (options.batches_on("cpu", False), options.batches_on("cpu", True)) == (6, 1)
    assert options.batches_on("cuda", False) == 1
    assert (options.threads_of(6), options.threads_of(4), options.threads_of(1)) == (1, 1, 6)
    assert Options(threads=6, batches=2).batches_on("cpu", True) == 2
    assert Options(threads=2, batches=4).batches_on("cpu", False) == 2, "no thread for more"
    assert Options().batches_on("cpu", False) == 1, "who asks alone has all threads"
    engine = Engine(artifacts / "pictures", "cpu", options=options)
    assert engine.batches == {"generator": 6}
    assert engine.sessions["generator"].get_session_options().intra_op_num_threads == 1


@pytest.mark.parametrize(
    ("text", "count"), [("150000 100000", 2), ("max 100000", 64), ("9900000 100000", 64), ("nonsense", 64)]
)
def test_cores_are_those_that_a_container_may_use(text, count, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)
    quota = tmp_path / "cpu.max"
    assert sessions.cores(quota) == 64
    quota.write_text(text)
    assert sessions.cores(quota) == count


def test_cuda_has_buckets_and_the_cpu_needs_none():
    assert Options().buckets_on("cpu") == ()
    assert Options().buckets_on("cuda") == sessions.BUCKETS
    assert Options(buckets=(8,)).buckets_on("cpu") == Options(buckets=(8,)).buckets_on("cuda") == (8,)


def test_options_of_cuda_are_named_as_onnx_runtime_names_them():
    known = sessions.cuda_options(Options())
    assert known["use_tf32"] == "0"
    assert known["cudnn_conv_algo_search"] == "HEURISTIC"
    assert "gpu_mem_limit" not in known
    assert sessions.cuda_options(Options(memory=2**30, tf32=True)).items() > {
        ("gpu_mem_limit", "1073741824"),
        ("use_tf32", "1"),
    }


@pytest.mark.gpu
def test_every_option_of_cuda_is_one_that_onnx_runtime_takes(artifacts):
    session = Engine(artifacts / "pictures", "cuda").sessions["generator"]
    assert (
        session.get_provider_options()["CUDAExecutionProvider"].items()
        >= sessions.cuda_options(Options()).items()
    )


MEASURE = """
import sys
from pathlib import Path

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

import onnxruntime
from serving.runtime.sessions import open_session

def plain(model):
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

opened = {"ours": lambda model: open_session(model, "cpu"), "plain": plain}[sys.argv[2]]
before = resident()
session = opened(Path(sys.argv[1]).read_bytes())
print((resident() - before) / Path(sys.argv[1]).stat().st_size)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells what a process holds")
def test_a_session_holds_its_weights_once(tmp_path):
    """The control: as ONNX Runtime opens it, the file and what was freed stay too."""
    weight = np.random.default_rng(0).standard_normal((4096, 4096), np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["y"])],
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4096])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4096])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    (tmp_path / "large.onnx").write_bytes(model.SerializeToString())

    def copies(how):
        command = [sys.executable, "-c", MEASURE, str(tmp_path / "large.onnx"), how]
        root = Path(sessions.__file__).parents[2]
        return float(subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout)

    assert copies("ours") < 1.5
    assert copies("plain") > 1.9


@pytest.mark.parametrize(
    ("machine", "flags", "saturates"),
    [
        ("x86_64", "flags : fma avx2", True),
        ("x86_64", "flags : avx2 avx512_vnni", False),
        ("x86_64", None, True),
        ("arm64", None, False),
    ],
)
def test_bytes_are_multiplied_exactly_where_the_processor_would_saturate(
    machine, flags, saturates, tmp_path, monkeypatch
):
    monkeypatch.setattr("platform.machine", lambda: machine)
    processor = tmp_path / "cpuinfo"
    if flags:
        processor.write_text(flags)
    assert sessions.bytes_saturate.__wrapped__(processor) == saturates


def test_nothing_is_reported_to_anybody(tmp_path, artifacts):
    """ONNX Runtime leaves an identity of the machine where it reports; the control leaves it alone."""

    def left(first_import: str) -> list[Path]:
        home = tmp_path / first_import
        home.mkdir()
        code = f"import {first_import}, onnxruntime; onnxruntime.InferenceSession(r'{graph}')"
        environment = {**os.environ, "HOME": str(home), "TMPDIR": str(home)}
        for name in ("ORT_DISABLE_TELEMETRY", "CI"):  # either stops it
            environment.pop(name, None)
        subprocess.run([sys.executable, "-c", code], env=environment, check=True, cwd=root)
        return [path for path in home.rglob("*") if path.is_file()]

    graph, root = artifacts / "points" / "generator.onnx", Path(sessions.__file__).parents[2]
    if not left("onnxruntime"):
        pytest.skip("this ONNX Runtime reports nothing")
    assert left("serving") == []
