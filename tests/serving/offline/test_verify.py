import hashlib
import json
import shutil

import numpy as np
import onnx
import pytest
import safetensors.numpy

from serving.offline.verify import VerifyError, verify
from serving.runtime.artifact import read_manifest
from serving.runtime.manifest import MANIFEST_FILE
from training.artifacts.portable import must_be_portable
from training.graphs.trace import GraphError


@pytest.fixture
def copy(artifacts, tmp_path):
    return shutil.copytree(artifacts / "pictures", tmp_path / "pictures")


@pytest.mark.parametrize("name", ["pictures", "classes", "points", "styles", "pairs"])
def test_every_artifact_stands(name, artifacts):
    lines = list(verify(artifacts / name))
    manifest = read_manifest(artifacts / name)
    for graph in manifest.graphs.values():
        for variant in graph.variants:
            assert any(line.startswith(f"{variant.file}: ") and "PyTorch" in line for line in lines)


def test_every_file_is_held_against_its_hash(copy):
    for file in sorted(copy.glob("generator.*")):
        if file.suffix == ".png":
            continue
        whole = file.read_bytes()
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(VerifyError, match=rf"{file.name} is damaged"):
            list(verify(copy))
        file.unlink()
        with pytest.raises(VerifyError, match=f"{file.name} can't be read"):
            list(verify(copy))
        file.write_bytes(whole)
    list(verify(copy))


def forge(artifact, file, change):
    """Change a graph and write its hash anew, as one would who wants it believed."""
    model = onnx.load(artifact / file)
    change(model)
    onnx.save(model, artifact / file)
    manifest = json.loads((artifact / MANIFEST_FILE).read_text())
    for variant in manifest["graphs"]["generator"]["variants"]:
        if variant["file"] == file:
            variant["sha256"] = digest(artifact / file)
    (artifact / MANIFEST_FILE).write_text(json.dumps(manifest))


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def weights(model):
    return [each for each in model.graph.initializer if each.data_type == onnx.TensorProto.FLOAT]


def doubled(model):
    large = max(weights(model), key=lambda each: np.prod(each.dims))
    large.CopyFrom(onnx.numpy_helper.from_array(2 * onnx.numpy_helper.to_array(large), large.name))


def infinite(model):
    large = max(weights(model), key=lambda each: np.prod(each.dims))
    array = onnx.numpy_helper.to_array(large).copy()
    array.flat[0] = np.inf
    large.CopyFrom(onnx.numpy_helper.from_array(array, large.name))


def foreign(model):
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))


def mixed(model):
    """Every row becomes the greatest of the batch."""
    graph = model.graph
    graph.node[-1].output[0] = "own"
    graph.node.extend(
        [
            onnx.helper.make_node("ReduceMax", ["own", "axes"], ["greatest"], keepdims=1),
            onnx.helper.make_node("Max", ["own", "greatest"], ["output"]),
        ]
    )
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([0]), "axes"))


def turned(model):
    """Float NCHW in place of uint8 NHWC."""
    output = model.graph.output[0].type.tensor_type
    output.elem_type = onnx.TensorProto.FLOAT
    model.graph.node[-1].output[0] = "pixels"
    cast = onnx.helper.make_node("Cast", ["pixels"], ["output"], to=onnx.TensorProto.FLOAT)
    model.graph.node.append(cast)


def fixed(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2


def invalid(model):
    model.graph.node[0].op_type = "Transmogrify"


@pytest.mark.parametrize("file", ["generator.onnx", "generator.cpu.fp32.onnx"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (doubled, "levels"),
        (infinite, "levels"),
        (invalid, "can't run"),
        (mixed, "the same output in every batch"),
        (turned, r"as in manifest\.json; got"),
        (fixed, r"as in manifest\.json; got"),
    ],
)
def test_a_forged_graph_is_found_out(copy, file, change, said):
    forge(copy, file, change)
    with pytest.raises(VerifyError, match=rf"{file}: .*{said}"):
        list(verify(copy))


@pytest.mark.parametrize("file", ["generator.onnx", "generator.cpu.fp32.onnx"])
@pytest.mark.parametrize(
    ("change", "said"),
    [(infinite, "must be finite"), (foreign, "must use only"), (invalid, "not valid ONNX"), (fixed, "fixed")],
)
def test_a_graph_that_other_runtimes_may_refuse_is_found_out(copy, file, change, said):
    """By ONNX's own checker, where the packages for training are."""
    assert len(list(must_be_portable(copy))) == 2
    forge(copy, file, change)
    with pytest.raises(GraphError, match=rf"{file}: .*{said}"):
        list(must_be_portable(copy))


def test_a_forged_golden_example_is_found_out(copy):
    file = copy / "generator.golden.safetensors"
    arrays = safetensors.numpy.load_file(file)
    arrays["expected"] = -arrays["expected"]
    safetensors.numpy.save_file(arrays, file)
    manifest = json.loads((copy / MANIFEST_FILE).read_text())
    manifest["graphs"]["generator"]["golden"]["sha256"] = digest(file)
    (copy / MANIFEST_FILE).write_text(json.dumps(manifest))
    with pytest.raises(VerifyError, match="levels"):
        list(verify(copy))


@pytest.mark.parametrize("file", ["generator.cpu.fp32.onnx", "generator.golden.safetensors"])
def test_garbage_with_its_own_hash_is_a_mistake_and_no_traceback(copy, file):
    (copy / file).write_bytes(b"garbage")
    manifest = json.loads((copy / MANIFEST_FILE).read_text())
    graph = manifest["graphs"]["generator"]
    for part in (graph["golden"], *graph["variants"]):
        if part["file"] == file:
            part["sha256"] = digest(copy / file)
    (copy / MANIFEST_FILE).write_text(json.dumps(manifest))
    with pytest.raises(VerifyError, match=file):
        list(verify(copy))
