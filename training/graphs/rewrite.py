"""Graph rewriting: an equivalent graph that other runtimes can load, or that is faster on the CPU.

The rules for the CPU are for ONNX Runtime's CPU provider only. CUDA and other runtimes run the original graph
faster.
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
    """Apply rewrite rules to a graph until none matches.

    Args:
        model: a graph from `training.graphs.trace`. It is not modified.
        rules: rules to apply, by default all rules that make the graph faster.
        then: rules to apply afterwards. They only help after the others.

    Returns:
        A graph with the same inputs and outputs, equal up to rounding, or None if no rule matches.
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
    """Apply rules until none matches and return the number of replacements."""
    total = 0
    while fitted := sum(_apply(rule, node, names) for node in list(graph) for rule in rules):
        total += fitted
    return total


def _apply(rule: Rule, node: ir.Node, names: Iterator[str]) -> bool:
    """Replace a node by a rule's result, and return whether the rule matches."""
    graph = node.graph
    if not isinstance(graph, ir.Graph):
        return False  # the node was replaced earlier
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
    """Remove the producers of values that are no longer used."""
    for value in values:
        node = value.producer() if value is not None else None
        if node is None or any(output.uses() or output.is_graph_output() for output in node.outputs):
            continue
        operands = tuple(node.inputs)
        graph.remove(node, safe=True)
        _prune(graph, operands)
