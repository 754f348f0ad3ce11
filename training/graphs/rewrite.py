"""A graph rewritten into an equal one that ONNX Runtime's CPU provider runs faster.

Other runtimes, and CUDA, are better off with the graph as it was.
"""

from collections.abc import Iterator, Sequence
from itertools import count

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from training.graphs.rules import RULES, Rule, Sketch, elementwise_first


def rewrite(
    model: onnx.ModelProto, rules: Sequence[Rule] = RULES, then: Sequence[Rule] = (elementwise_first,)
) -> onnx.ModelProto | None:
    """Rewrite a graph by every rule that fits, until none does.

    Args:
        model: as `training.graphs.trace` gives it; left as it is.
        rules: by default all that make it faster.
        then: those that are only worth it after the others.

    Returns:
        A graph of the same inputs and outputs, equal up to rounding; None where no rule fits.
    """
    rewritten = ir.from_proto(model)
    taken = set(rewritten.graph.initializers)
    names = (name for name in map("rewritten_{}".format, count()) if name not in taken)
    if not _apply_all(rules, rewritten.graph, names):
        return None
    _apply_all(then, rewritten.graph, names)
    RemoveUnusedNodesPass()(rewritten)
    return ir.to_proto(rewritten)


def _apply_all(rules: Sequence[Rule], graph: ir.Graph, names: Iterator[str]) -> int:
    """Apply rules until none fits; tell how often one did."""
    total = 0
    while fitted := sum(_apply(rule, node, names) for node in list(graph) for rule in rules):
        total += fitted
    return total


def _apply(rule: Rule, node: ir.Node, names: Iterator[str]) -> bool:
    """Put what a rule gives in a node's place."""
    graph = node.graph
    if not isinstance(graph, ir.Graph):
        return False  # it was replaced
    sketch = Sketch(names)
    value = rule(node, sketch)
    if value is None:
        return False
    for constant in sketch.tape.initializers:
        graph.register_initializer(constant)
    operands = tuple(node.inputs)
    ir.convenience.replace_nodes_and_values(graph, node, [node], sketch.tape.nodes, node.outputs, [value])
    _prune(graph, operands)
    return True


def _prune(graph: ir.Graph, values: Sequence[ir.Value | None]) -> None:
    """Take nodes out that nobody wants the values of any more."""
    for value in values:
        node = value.producer() if value is not None else None
        if node is None or any(output.uses() or output.is_graph_output() for output in node.outputs):
            continue
        operands = tuple(node.inputs)
        graph.remove(node, safe=True)
        _prune(graph, operands)
