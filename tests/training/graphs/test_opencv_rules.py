"""The rules for OpenCV 4: equal bit for bit, once each, and nothing but what it can't run."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from serving.runtime.sessions import open_session
from training.graphs.opencv_rules import OPENCV_RULES
from training.graphs.rewrite import rewrite

TABLE = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)


def graph_of(node, constants, inputs, shape):
    """A graph of one node from some inputs to `y`."""
    types = {"x": TensorProto.FLOAT, "label": TensorProto.INT64}
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(name, types[name], sizes) for name, sizes in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def unsqueeze(axes, before, after):
    node = helper.make_node("Unsqueeze", ["x", "axes"], ["y"])
    return graph_of(node, {"axes": axes}, {"x": before}, after)


def embedding():
    return graph_of(
        helper.make_node("Gather", ["table", "label"], ["y"]),
        {"table": TABLE},
        {"label": ["batch"]},
        ["batch", 3],
    )


def run(model, inputs):
    return open_session(model.SerializeToString(), "cpu").run(None, inputs)[0]


@pytest.mark.parametrize(
    ("model", "inputs", "operators"),
    [
        (unsqueeze([2, 3], ["batch", 3], ["batch", 3, 1, 1]), {"x": TABLE}, ["Reshape"]),
        (unsqueeze([-1, 0], ["batch", 3], [1, "batch", 3, 1]), {"x": TABLE}, ["Reshape"]),
        (unsqueeze([0, 1], [5, 3], [1, 1, 5, 3]), {"x": TABLE}, ["Reshape"]),
        (embedding(), {"label": np.array([4, 0, 4])}, ["Gather", "Flatten"]),
    ],
)
def test_what_opencv_can_run_is_the_same(model, inputs, operators):
    rewritten = rewrite(model, OPENCV_RULES, then=())
    onnx.checker.check_model(rewritten, full_check=True)
    assert [node.op_type for node in rewritten.graph.node] == operators
    assert rewritten.graph.output == model.graph.output
    assert np.array_equal(run(rewritten, inputs), run(model, inputs))
    assert rewrite(rewritten, OPENCV_RULES, then=()) is None, "a second time changes nothing"


@pytest.mark.parametrize(
    "model",
    [
        unsqueeze([2], ["batch", 3], ["batch", 3, 1]),
        unsqueeze([0, 3], ["batch", "size"], [1, "batch", "size", 1]),
    ],
)
def test_other_graphs_stay(model):
    assert rewrite(model, OPENCV_RULES, then=()) is None
