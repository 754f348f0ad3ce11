"""Instance normalisation with given statistics: two graphs made from one.

Instance normalisation needs the mean and the variance of a whole feature map, which those of a tile are not.
One graph of the pair measures, for each normalisation, the factor and the offset of every channel that follow
from the statistics of its map. The other takes them as inputs, so that one function translates all tiles of
an image. Source: the field numbers of `onnx.proto3`.
"""

import struct
from functools import cache
from typing import Any, NamedTuple

from serving.runtime.onnx_file.protobuf import Field, message_class

NORMALISATION = "InstanceNormalization"

MESSAGES = {
    "Model": [Field(7, "graph", "Graph", repeated=False)],
    "Graph": [
        Field(1, "node", "Node"),
        Field(5, "initializer", "Tensor"),
        Field(11, "input", "Value"),
        Field(12, "output", "Value"),
    ],
    "Node": [
        Field(1, "input", "string"),
        Field(2, "output", "string"),
        Field(3, "name", "string", repeated=False),
        Field(4, "op_type", "string", repeated=False),
        Field(5, "attribute", "Attribute"),
    ],
    "Attribute": [Field(1, "name", "string", repeated=False), Field(2, "f", "float", repeated=False)],
    "Tensor": [
        Field(1, "dims", "int64"),
        Field(2, "data_type", "int32", repeated=False),
        Field(8, "name", "string", repeated=False),
        Field(9, "raw_data", "bytes", repeated=False),
    ],
    "Value": [Field(1, "name", "string", repeated=False), Field(2, "type", "Type", repeated=False)],
    "Type": [Field(1, "tensor_type", "TensorType", repeated=False)],
    "TensorType": [Field(1, "elem_type", "int32", repeated=False)],
}

FLOAT, INT64, FLOAT16 = 1, 7, 10
"""Numbers of types in ONNX."""

EPSILON = 1e-5
"""Default of the normalisation's attribute."""


class Pair(NamedTuple):
    """The two graphs, as ONNX files."""

    measuring: bytes
    """The graph with more outputs after its own: factor and offset of each normalisation, (N, C, 1, 1)."""

    applying: bytes
    """The graph with as many more inputs, by the names of these outputs."""


def split(model: bytes) -> Pair | None:
    """Return the pair of graphs for an ONNX file; None if it has no instance normalisation."""
    if NORMALISATION.encode() not in model:
        return None
    measuring, applying = (_model()() for _ in Pair._fields)
    measuring.ParseFromString(model)
    applying.ParseFromString(model)
    kinds = {each.name: each.data_type for each in measuring.graph.initializer}
    shape = measuring.graph.initializer.add(name="statistics_shape", dims=[4], data_type=INT64)
    shape.raw_data = struct.pack("<4q", 1, -1, 1, 1)
    nodes = list(measuring.graph.node)
    measured, applied = _model()().graph, _model()().graph
    for index, node in enumerate(nodes):
        if node.op_type != NORMALISATION:
            measured.node.add().CopyFrom(node)
            applied.node.add().CopyFrom(node)
            continue
        kind = kinds.get(node.input[1], FLOAT)
        _measure(measured, node, index, kind, measuring.graph.initializer)
        for graph in (measured, applied):
            _apply(graph, node, index)
        for name in _names(index):
            for values in (measuring.graph.output, applying.graph.input):
                values.add(name=name).type.tensor_type.elem_type = kind
    for model_, graph in ((measuring, measured), (applying, applied)):
        del model_.graph.node[:]
        model_.graph.node.extend(graph.node)
    return Pair(measuring.SerializeToString(), applying.SerializeToString())


def _names(index: int) -> tuple[str, str]:
    return f"statistics_factor_{index}", f"statistics_offset_{index}"


def _measure(graph: Any, node: Any, index: int, kind: int, initializers: Any) -> None:
    """Add the nodes of factor and offset: y = factor * x + offset."""
    values, scale, bias = node.input
    factor, offset = _names(index)
    epsilon = next((each.f for each in node.attribute if each.name == "epsilon"), EPSILON)
    constant = initializers.add(name=f"statistics_epsilon_{index}", data_type=kind)
    constant.raw_data = struct.pack("<e" if kind == FLOAT16 else "<f", epsilon)

    def name(step: str) -> str:
        return f"statistics_{step}_{index}"

    def add(kind: str, *inputs: str, output: str) -> str:
        graph.node.add(op_type=kind, name=output, input=inputs, output=[output])
        return output

    mean = add("GlobalAveragePool", values, output=name("mean"))
    centred = add("Sub", values, mean, output=name("centred"))
    squared = add("Mul", centred, centred, output=name("squared"))
    variance = add("GlobalAveragePool", squared, output=name("variance"))
    deviation = add("Sqrt", add("Add", variance, constant.name, output=name("sum")), output=name("deviation"))
    column = add("Reshape", scale, "statistics_shape", output=name("scale"))
    add("Div", column, deviation, output=factor)
    shift = add("Mul", mean, factor, output=name("shift"))
    add("Sub", add("Reshape", bias, "statistics_shape", output=name("bias")), shift, output=offset)


def _apply(graph: Any, node: Any, index: int) -> None:
    """Add the nodes that stand for the normalisation.

    They also follow the measurement: ONNX Runtime then measures each map when it is there, and keeps none.
    """
    factor, offset = _names(index)
    product = f"statistics_product_{index}"
    graph.node.add(op_type="Mul", name=product, input=[node.input[0], factor], output=[product])
    graph.node.add(op_type="Add", name=node.output[0], input=[product, offset], output=node.output)


@cache
def _model() -> Any:
    return message_class("ganzoo.statistics", MESSAGES, "Model")
