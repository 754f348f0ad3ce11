"""Artifacts made to break a server: manifests that do not match their graphs, and graphs that can't work."""

import copy
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from serving.runtime.manifest import MANIFEST_FILE

Content = dict[str, Any]

SECRET = "secret.bin"
"""File that graphs with external data refer to."""


def changed_manifests(content: Content) -> Iterator[tuple[str, Content]]:
    """Yield manifests of the same files that no longer match them, each with what was changed."""
    for name, change in CHANGES.items():
        changed = copy.deepcopy(content)
        (graph,) = changed["graphs"].values()
        if change(changed, graph) is not LEAVE:
            assert changed != content, name
            yield name, changed


LEAVE = object()
"""Returned by a change that does not apply to a manifest."""


def _latent(**fields: Any) -> Callable[[Content, Content], object]:
    return lambda _, graph: graph["inputs"]["latent"].update(fields)


def _output(**fields: Any) -> Callable[[Content, Content], object]:
    return lambda _, graph: graph["output"].update(fields)


def _recolour(_: Content, graph: Content) -> None:
    """Make a grey image one in colour, and one in colour grey."""
    *sizes, channels = graph["output"]["shape"]
    graph["output"]["shape"] = [*sizes, 3 if channels == 1 else 1]


def _rename_input(_: Content, graph: Content) -> None:
    graph["inputs"]["noise"] = graph["inputs"].pop("latent")


def _rename_graph(content: Content, graph: Content) -> None:
    content["graphs"] = {"other": graph, "more": graph}


def _classes(more: int) -> Callable[[Content, Content], object]:
    def change(content: Content, graph: Content) -> object:
        if "label" not in graph["inputs"]:
            return LEAVE
        count = len(content["labels"]) + more
        graph["inputs"]["label"]["range"] = [0.0, float(count - 1)]
        content["labels"] = [f"class {number}" for number in range(count)]
        return None

    return change


def _without_label(content: Content, graph: Content) -> object:
    content["labels"] = []
    return graph["inputs"].pop("label", LEAVE)


CHANGES: dict[str, Callable[[Content, Content], object]] = {
    "a wider latent": _latent(shape=["batch", 50]),
    "a latent without a width": _latent(shape=["batch", "width"]),
    "a latent of no dimension": _latent(shape=[]),
    "a latent of a negative width": _latent(shape=["batch", -8]),
    "a latent of another type": _latent(dtype="int64"),
    "a latent that is an image": _latent(meaning="image"),
    "a latent that is a label": _latent(meaning="label", range=[0.0, 9.0]),
    "a latent that is a vector": _latent(meaning="vector", range=[0.0, 1.0]),
    "a fixed batch": _latent(shape=[1, 8]),
    "no input": lambda _, graph: graph["inputs"].clear(),
    "one more input": lambda _, graph: graph["inputs"].update(more=graph["inputs"]["latent"]),
    "an input of another name": _rename_input,
    "a larger image": _output(shape=["batch", 64, 64, 1]),
    "an image of the other number of channels": _recolour,
    "an image of four channels": _output(shape=["batch", 32, 32, 4]),
    "an image of any size": _output(shape=["batch", "height", "width", 1]),
    "an image of another type": _output(dtype="float32"),
    "an image that is a vector": _output(meaning="vector"),
    "an image that is a latent": _output(meaning="latent"),
    "a descending range": _output(range=[255.0, 0.0]),
    "another range": _output(range=[0.0, 1.0]),
    "another task": lambda content, _: content.update(task="translate"),
    "two graphs": _rename_graph,
    "names of classes without a label": lambda content, graph: (
        LEAVE if "label" in graph["inputs"] else content.update(labels=["one", "two"])
    ),
    "more classes": _classes(+400),
    "no label": _without_label,
    "fewer names than classes": lambda content, _: (
        content.update(labels=content["labels"][1:]) if content["labels"] else LEAVE
    ),
}
"""Changes of a manifest, by what they make of it; each gets the manifest and its first graph."""


def crafted_graphs(latent: int, shape: list[int]) -> dict[str, onnx.ModelProto]:
    """Return graphs with the inputs and outputs of an artifact that can't work, or refer to SECRET."""
    weights = numpy_helper.from_array(np.ones((latent, int(np.prod(shape))), np.float32), "weights")
    outside = onnx.TensorProto.FromString(weights.SerializeToString())
    outside.ClearField("raw_data")
    outside.data_location = TensorProto.EXTERNAL
    for key, value in {"location": SECRET, "offset": "0"}.items():
        outside.external_data.add(key=key, value=value)
    constant = helper.make_node("Constant", [], ["weights"], value=outside)
    branch = helper.make_graph([constant], "branch", [], [_floats("weights", list(weights.dims))])
    yes = helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True)))
    choice = helper.make_node("If", ["yes"], ["weights"], then_branch=branch, else_branch=branch)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    function = helper.make_function("own", "Weights", [], ["weights"], [constant], opsets[:1])
    called = helper.make_node("Weights", [], ["weights"], domain="own")
    made = {
        "an initializer outside": _model(latent, shape, [], [outside]),
        "a constant outside": _model(latent, shape, [constant], []),
        "a constant outside in a branch": _model(latent, shape, [yes, choice], []),
        "a constant outside in a function": _model(latent, shape, [called], [], [function]),
        "a batch that is ignored": _model(latent, shape, [], [weights], end=_first_row(shape)),
        "rows that are mixed": _model(latent, shape, [], [weights], start=_cumulated()),
        "two outputs": _model(latent, shape, [], [weights]),
        "an output of another shape": _model(
            latent, [*shape[:2], 3 * shape[2]], [], [weights], claimed=shape
        ),
    }
    made["two outputs"].graph.output.append(_floats("flat", ["batch", int(np.prod(shape))]))
    sparse = made["a sparse initializer outside"] = _model(latent, shape, [], [])
    indices = numpy_helper.from_array(np.zeros((1, 2), np.int64), "indices")
    sparse.graph.sparse_initializer.append(helper.make_sparse_tensor(outside, indices, list(weights.dims)))
    return made


def _model(
    latent: int,
    shape: list[int],
    first: list[onnx.NodeProto],
    weights: list[onnx.TensorProto],
    functions: list[onnx.FunctionProto] | None = None,
    start: list[onnx.NodeProto] | None = None,
    end: list[onnx.NodeProto] | None = None,
    claimed: list[int] | None = None,
) -> onnx.ModelProto:
    """Return a graph from `latent` to `output`, uint8 images: a product of the latent and `weights`."""
    sizes = numpy_helper.from_array(np.array([-1, *shape], np.int64), "sizes")
    nodes = [
        *first,
        *(start or [helper.make_node("Identity", ["latent"], ["rows"])]),
        helper.make_node("MatMul", ["rows", "weights"], ["flat"]),
        helper.make_node("Cast", ["flat"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("Reshape", ["bytes", "sizes"], ["images"]),
        *(end or [helper.make_node("Identity", ["images"], ["output"])]),
    ]
    output = helper.make_tensor_value_info("output", TensorProto.UINT8, ["batch", *(claimed or shape)])
    graph = helper.make_graph(
        nodes, "crafted", [_floats("latent", ["batch", latent])], [output], [sizes, *weights]
    )
    opsets = [helper.make_opsetid("", 18), *([helper.make_opsetid("own", 1)] if functions else [])]
    return helper.make_model(graph, opset_imports=opsets, functions=functions or [], ir_version=9)


def _floats(name: str, shape: list[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _first_row(shape: list[int]) -> list[onnx.NodeProto]:
    """Return nodes that keep the first image of a batch."""
    bounds = {"from": [0], "to": [1], "axis": [0]}
    made = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(value, np.int64)))
        for name, value in bounds.items()
    ]
    return [*made, helper.make_node("Slice", ["images", *bounds], ["output"])]


def _cumulated() -> list[onnx.NodeProto]:
    """Return nodes that add to each row the rows before it."""
    axis = numpy_helper.from_array(np.array(0, np.int64))
    return [
        helper.make_node("Constant", [], ["axis"], value=axis),
        helper.make_node("CumSum", ["latent", "axis"], ["rows"]),
    ]


def with_graph(artifact: Path, graph: bytes, target: Path) -> Path:
    """Copy an artifact of one graph with another graph in its place, whose hash is right."""
    shutil.copytree(artifact, target)
    content = json.loads((target / MANIFEST_FILE).read_text())
    ((name, spec),) = content["graphs"].items()
    (target / f"{name}.onnx").write_bytes(graph)
    spec["variants"] = [spec["variants"][0] | {"sha256": hashlib.sha256(graph).hexdigest()}]
    (target / MANIFEST_FILE).write_text(json.dumps(content))
    return target
