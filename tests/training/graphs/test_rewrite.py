"""Every rule alone, held against the operator it replaces, over random shapes."""

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from serving.runtime.sessions import open_session
from training.graphs import rules
from training.graphs.rewrite import rewrite

few = settings(max_examples=40, deadline=None)
sides = st.integers(1, 9)


def graph_of(nodes: list[Any], constants: dict[str, Any], channels: int, size: Any) -> onnx.ModelProto:
    """A graph from the image `x` to `y`; a size of names varies, one of numbers is known."""
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", channels, *size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def convolution(operator: str, weight: np.ndarray, bias: np.ndarray | None, size: Any, **attributes: Any):
    constants = {"w": weight} | ({} if bias is None else {"b": bias})
    channels = weight.shape[0 if operator == "ConvTranspose" else 1]
    return graph_of(
        [helper.make_node(operator, ["x", *constants], ["y"], **attributes)], constants, channels, size
    )


def difference(model: onnx.ModelProto, rule: rules.Rule, images: np.ndarray) -> float:
    """The greatest, relative to the greatest number; fails where the rule does not fit."""
    rewritten = rewrite(model, [rule], ())
    assert rewritten is not None
    onnx.checker.check_model(rewritten, full_check=True)
    before, after = (
        open_session(each.SerializeToString(), "cpu").run(None, {"x": images})[0]
        for each in (model, rewritten)
    )
    assert before.shape == after.shape
    return float(np.abs(before - after).max() / np.abs(before).max())


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@few
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 5), st.integers(1, 5), st.booleans())
def test_a_transposed_convolution_of_a_pixel_is_a_matrix(before, after, height, width, biased):
    bias = numbers(after) if biased else None
    model = convolution("ConvTranspose", numbers(before, after, height, width), bias, (1, 1))
    assert difference(model, rules.latent_as_matrix, numbers(3, before, 1, 1)) < 1e-5


ENLARGING = [
    (kernel, stride, pad, extra)
    for stride in (2, 3)
    for kernel in range(stride, 8)
    for pad in range(4)
    for extra in range(min(stride, kernel - stride + 1))
    if kernel + extra - 2 * pad == stride
]
"""Kernel, stride, pad and output padding that make an image exactly stride times as large."""


@few
@example(shape=(4, 2, 1, 0), after=5, height=1, width=1, biased=True, known=False)
@example(shape=(3, 2, 1, 1), after=16, height=5, width=4, biased=False, known=True)
@given(
    shape=st.sampled_from(ENLARGING),
    after=st.integers(5, 20),
    height=sides,
    width=sides,
    biased=st.booleans(),
    known=st.booleans(),
)
def test_phases(shape, after, height, width, biased, known):
    kernel, stride, pad, extra = shape
    model = convolution(
        "ConvTranspose",
        numbers(6, after, kernel, kernel),
        numbers(after) if biased else None,
        (height, width) if known else ("height", "width"),
        strides=(stride, stride),
        pads=(pad,) * 4,
        output_padding=(extra, extra),
    )
    assert difference(model, rules.phases, numbers(2, 6, height, width)) < 1e-5


@few
@example(channels=3, kernel=7, pad=0, height=7, width=8, biased=True, known=False)
@given(
    channels=st.integers(1, 4),
    kernel=st.integers(3, 7),
    pad=st.integers(0, 3),
    height=sides,
    width=sides,
    biased=st.booleans(),
    known=st.booleans(),
)
def test_few_channels(channels, kernel, pad, height, width, biased, known):
    assume(min(height, width) + 2 * pad >= kernel)
    model = convolution(
        "Conv",
        numbers(channels, 5, kernel, kernel),
        numbers(channels) if biased else None,
        (height, width) if known else ("height", "width"),
        pads=(pad,) * 4,
    )
    assert difference(model, rules.few_channels, numbers(2, 5, height, width)) < 1e-5


@few
@example(before=64, after=80, pads=(1, 1, 1, 1), height=4, width=5, biased=True, known=False)
@given(
    before=st.sampled_from([64, 80]),
    after=st.sampled_from([64, 96]),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    height=sides,
    width=sides,
    biased=st.booleans(),
    known=st.booleans(),
)
def test_fewer_products(before, after, pads, height, width, biased, known):
    assume(height + pads[0] + pads[2] >= 3 and width + pads[1] + pads[3] >= 3)
    if known:  # larger than what is left alone
        height, width = height + 8, width + 8
    model = convolution(
        "Conv",
        numbers(after, before, 3, 3),
        numbers(after) if biased else None,
        (height, width) if known else ("height", "width"),
        pads=pads,
    )
    assert difference(model, rules.fewer_products, numbers(2, before, height, width)) < 1e-5


def test_small_maps_keep_their_products():
    small, larger = (
        convolution("Conv", numbers(64, 64, 3, 3), None, (8, width), pads=(1, 1, 1, 1)) for width in (8, 9)
    )
    assert rewrite(small, (rules.fewer_products,)) is None
    assert rewrite(larger, (rules.fewer_products,)) is not None, "the control"


@pytest.mark.parametrize(
    ("kernel", "strides", "pads", "extra"),
    [
        ((4, 3), (2, 1), (1, 1, 1, 1), (0, 0)),
        ((3, 5), (1, 3), (1, 1, 1, 2), (0, 1)),
        ((4, 3), (2, 2), (0, 1, 2, 1), (0, 1)),
        ((6, 2), (2, 2), (2, 0, 2, 0), (0, 0)),
    ],
)
def test_phases_of_axes_that_differ(kernel, strides, pads, extra):
    model = convolution(
        "ConvTranspose",
        numbers(6, 7, *kernel),
        numbers(7),
        ("height", "width"),
        strides=strides,
        pads=pads,
        output_padding=extra,
    )
    assert difference(model, rules.phases, numbers(2, 6, 5, 4)) < 1e-5


@pytest.mark.parametrize(("kernel", "pads"), [((3, 4), (0, 1, 0, 2)), ((5, 3), (2, 0, 1, 1))])
def test_few_channels_of_axes_that_differ(kernel, pads):
    model = convolution("Conv", numbers(3, 5, *kernel), None, ("height", "width"), pads=pads)
    assert difference(model, rules.few_channels, numbers(2, 5, 6, 7)) < 1e-5


MOVES = {
    "Concat": (["x", "x"], {"axis": 3}, {}),
    "DepthToSpace": (["x"], {"blocksize": 2, "mode": "DCR"}, {}),
    "Reshape": (["x", "how"], {}, {"how": np.array((0, 0, 1, -1))}),
    "Slice": (["x", "from", "to"], {}, {"from": np.array((0, 1)), "to": np.array((1, 3))}),
}
CHANGES = {
    "Relu": ([], {}),
    "LeakyRelu": ([], {"alpha": 0.2}),
    "Tanh": ([], {}),
    "Mul": ([np.float32(127.5)], {}),
    "Clip": ([np.float32(-0.5), np.float32(0.5)], {}),
}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("change", CHANGES)
def test_elementwise_first(move, change):
    operands, attributes, constants = MOVES[move]
    scalars, how = CHANGES[change]
    named = {f"s{index}": scalar for index, scalar in enumerate(scalars)}
    model = graph_of(
        [
            helper.make_node(move, operands, ["moved"], **attributes),
            helper.make_node(change, ["moved", *named], ["y"], **how),
        ],
        constants | named,
        4,
        (3, 4),
    )
    rewritten = rewrite(model, [rules.elementwise_first], ())
    assert rewritten is not None
    assert {node.op_type for node in rewritten.graph.node[:-1]} == {change}
    assert difference(model, rules.elementwise_first, numbers(2, 4, 3, 4)) == 0


def test_what_is_used_twice_or_depends_on_its_place_is_not_changed_before_it_is_moved():
    twice = [
        helper.make_node("Concat", ["x", "x"], ["moved"], axis=3),
        helper.make_node("Relu", ["moved"], ["positive"]),
        helper.make_node("Add", ["moved", "positive"], ["y"]),
    ]
    assert rewrite(graph_of(twice, {}, 4, (3, 4)), [rules.elementwise_first], ()) is None
    by_place = [
        helper.make_node("DepthToSpace", ["x"], ["moved"], blocksize=2),
        helper.make_node("Mul", ["moved", "mask"], ["y"]),
    ]
    mask = {"mask": numbers(1, 1, 6, 8)}
    assert rewrite(graph_of(by_place, mask, 4, (3, 4)), [rules.elementwise_first], ()) is None
    mask = {"mask": numbers(1, 1, 1, 1)}  # one number, but of a shape that adds dimensions
    assert rewrite(graph_of(by_place, mask, 4, (3, 4)), [rules.elementwise_first], ()) is None


def test_moving_alone_is_not_worth_a_file():
    nodes = [
        helper.make_node("DepthToSpace", ["x"], ["moved"], blocksize=2),
        helper.make_node("Relu", ["moved"], ["y"]),
    ]
    assert rewrite(graph_of(nodes, {}, 4, (3, 4))) is None


@pytest.mark.parametrize(
    ("operator", "shape", "attributes"),
    [
        ("ConvTranspose", (8, 8, 4, 4), {"strides": (2, 2), "pads": (0, 0, 0, 0)}),  # not twice as large
        ("ConvTranspose", (8, 8, 1, 1), {"strides": (2, 2), "output_padding": (1, 1)}),  # zeros between
        ("ConvTranspose", (8, 4, 4, 4), {"strides": (2, 2), "pads": (1, 1, 1, 1), "group": 2}),
        ("Conv", (64, 64, 3, 3), {"strides": (2, 2)}),
        ("Conv", (64, 64, 3, 3), {"dilations": (2, 2)}),
        ("Conv", (64, 64, 3, 3), {"auto_pad": "SAME_UPPER"}),
        ("Conv", (16, 16, 3, 3), {}),  # too few channels to pay
    ],
)
def test_what_no_rule_fits_stays(operator, shape, attributes):
    assert rewrite(convolution(operator, numbers(*shape), None, ("height", "width"), **attributes)) is None


def test_weights_that_are_computed_stay():
    nodes = [
        helper.make_node("Neg", ["n"], ["w"]),
        helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=(2, 2), pads=(1, 1, 1, 1)),
    ]
    assert rewrite(graph_of(nodes, {"n": numbers(8, 8, 4, 4)}, 8, ("height", "width"))) is None


def test_activations_end_up_behind_the_convolutions_and_bytes_repeat():
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w"], ["large"], strides=(2, 2), pads=(1, 1, 1, 1)),
        helper.make_node("Relu", ["large"], ["y"]),
    ]
    model = graph_of(nodes, {"w": numbers(8, 8, 4, 4)}, 8, ("height", "width"))
    rewritten, again = rewrite(model), rewrite(model)
    assert rewritten is not None and again is not None
    followers = {node.input[0]: node.op_type for node in rewritten.graph.node}
    products = [node.output[0] for node in rewritten.graph.node if node.op_type == "Conv"]
    assert [followers[each] for each in products] == ["Relu"] * 4
    assert rewritten.SerializeToString(deterministic=True) == again.SerializeToString(deterministic=True)


def test_a_wrong_rule_is_seen():
    def mirrored(node, op):
        if node.op_type == "Conv" and not node.attributes:
            return op("Conv", node.inputs[0], numbers(1, 4, 3, 3)[..., ::-1], pads=(0, 0, 0, 0))
        return None

    model = convolution("Conv", numbers(1, 4, 3, 3), None, (6, 6))
    assert difference(model, rules.few_channels, numbers(1, 4, 6, 6)) < 1e-5
    assert difference(model, mirrored, numbers(1, 4, 6, 6)) > 0.1
