"""Rewrite rules towards operators that OpenCV 4 runs too; the values stay equal bit for bit."""

import onnx_ir as ir

from training.graphs.rules import Rule, Sketch


def axes_as_shape(node: ir.Node, op: Sketch) -> ir.Value | None:
    """Replace an Unsqueeze of several axes by a Reshape, because OpenCV 4 inserts one axis at a time."""
    if node.op_type != "Unsqueeze":
        return None
    before, after = node.inputs[0], node.outputs[0].shape
    if before is None or before.shape is None or after is None or len(after) < len(before.shape) + 2:
        return None
    sizes = [size if isinstance(size, int) else -1 for size in after]
    return None if sizes.count(-1) > 1 else op("Reshape", before, sizes)


def rows_as_matrix(node: ir.Node, op: Sketch) -> ir.Value | None:
    """Flatten the rows of an embedding to (N, D), because OpenCV 4 reads labels (N,) as (N, 1)."""
    if node.op_type != "Gather" or {use.node.op_type for use in node.outputs[0].uses()} == {"Flatten"}:
        return None
    labels, rows = node.inputs[1], node.outputs[0].shape
    if labels is None or not labels.is_graph_input() or rows is None or len(rows) != 2:
        return None
    return op("Flatten", op.again(node, node.inputs), axis=1)


OPENCV_RULES: tuple[Rule, ...] = (axes_as_shape, rows_as_matrix)
"""Rules for every exported graph."""
