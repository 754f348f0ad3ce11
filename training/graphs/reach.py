"""How far a graph of images sees: the distance over which an input pixel changes the output.

Every value of a graph depends on a box of input pixels. Its sides grow with each convolution. This is the
receptive field, exact for the largest possible influence, whatever the weights are. Instance normalisation is
taken as a function of each pixel, as it is when its statistics are given.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import onnx
from onnx import numpy_helper

POINTWISE = {
    *("Add", "Sub", "Mul", "Div", "Concat", "Where", "Cast", "Identity", "Transpose", "Clip", "Round"),
    *("Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Gelu", "Sigmoid", "Tanh", "Softplus", "Erf", "Exp"),
    *("Abs", "Neg", "Sqrt", "Pow", "Min", "Max", "HardSigmoid", "HardSwish", "Mish"),
    *("BatchNormalization", "InstanceNormalization", "Dropout"),
}
"""Operators that leave each pixel where it is."""

SUPPORT = {"nearest": 0, "linear": 1, "cubic": 2}
"""Input values on each side that an interpolation by a mode weighs, beside the nearest one."""

AXES = (2, 3)
"""Dimensions of the height and the width in NCHW."""


class Span(NamedTuple):
    """The input pixels, along an axis, on which a value depends: step * index - before to + after."""

    step: Fraction
    before: Fraction
    after: Fraction

    def windowed(self, taps: int, stride: int, pad: int) -> "Span":
        """Return the span after a window of so many taps is moved by a stride."""
        return Span(
            self.step * stride, self.before + self.step * pad, self.after + self.step * (taps - 1 - pad)
        )

    def spread(self, taps: int, stride: int, pad: int) -> "Span":
        """Return the span after a transposed convolution."""
        step = self.step / stride
        return Span(step, self.before + step * (taps - 1 - pad), self.after + step * pad)


Spans = tuple[Span, Span]
"""Spans of the height and the width."""


class _Unknown(Exception):
    """An operator whose box is not known, or that sees all of the image."""


def reach(model: onnx.ModelProto) -> int | None:
    """Return the greatest distance in pixels over which the graph's only input changes its output.

    A window of the input has the same output as the whole, except nearer than this to edges of the window
    that are inside the whole. Windows must begin at multiples of the graph's own strides.

    Returns:
        The distance, or None if an operator sees all of the image, or is not known.
    """
    (image,), (output,) = model.graph.input, model.graph.output
    one = Span(Fraction(1), Fraction(0), Fraction(0))
    spans: dict[str, Spans] = {image.name: (one, one)}
    constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    try:
        for node in model.graph.node:
            if node.op_type == "Constant":
                constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            elif found := _after(node, spans, constants):
                spans |= dict.fromkeys(node.output, found)
    except _Unknown:
        return None
    return math.ceil(max(max(span.before, span.after) for span in spans[output.name]))


def _after(node: onnx.NodeProto, spans: dict[str, Spans], constants: dict[str, Any]) -> Spans | None:
    """Return the spans of a node's output; None if it does not depend on the image."""
    given = [spans[name] for name in node.input if name in spans]
    if not given:
        return None
    if node.op_type in POINTWISE:
        return _joined(given)
    if node.op_type not in MOVES or len(given) > 1:
        raise _Unknown(node.op_type)
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    values = [constants.get(name) for name in node.input]
    height, width = (
        MOVES[node.op_type](span, axis, attributes, values) for axis, span in enumerate(given[0])
    )
    return height, width


def _joined(given: list[Spans]) -> Spans:
    """Return the spans that hold all of some spans of values at the same places."""
    if len({tuple(span.step for span in spans) for spans in given}) > 1:
        raise _Unknown("maps of several sizes")
    height, width = (
        Span(some[0].step, max(span.before for span in some), max(span.after for span in some))
        for some in zip(*given, strict=True)
    )
    return height, width


def _window(attributes: dict[str, Any], values: list[Any], axis: int) -> tuple[int, int, int]:
    """Return the taps, the stride and the padding before the image of a convolution or a pooling."""
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise _Unknown("auto_pad")
    kernel = attributes.get("kernel_shape") or values[1].shape[2:]
    dilation = attributes.get("dilations", (1, 1))[axis]
    pad = attributes.get("pads", (0, 0, 0, 0))[axis]
    return dilation * (kernel[axis] - 1) + 1, attributes.get("strides", (1, 1))[axis], pad


def _convolved(span: Span, axis: int, attributes: dict[str, Any], values: list[Any]) -> Span:
    return span.windowed(*_window(attributes, values, axis))


def _transposed(span: Span, axis: int, attributes: dict[str, Any], values: list[Any]) -> Span:
    return span.spread(*_window(attributes, values, axis))


def _padded(span: Span, axis: int, attributes: dict[str, Any], values: list[Any]) -> Span:
    if values[1] is None or len(values) > 3:
        raise _Unknown("Pad")
    before = span.step * int(values[1][AXES[axis]])
    return Span(span.step, span.before + before, span.after - before)


def _resized(span: Span, axis: int, attributes: dict[str, Any], values: list[Any]) -> Span:
    scales = values[2] if len(values) > 2 else None
    mode = attributes.get("mode", b"nearest").decode()
    if scales is None or not scales.size or mode not in SUPPORT or attributes.get("antialias", 0):
        raise _Unknown("Resize")
    factor = Fraction(float(scales[AXES[axis]])).limit_denominator(1024)
    beside = span.step * (1 + SUPPORT[mode])
    return Span(span.step / factor, span.before + beside, span.after + beside)


def _from_depth(span: Span, axis: int, attributes: dict[str, Any], values: list[Any]) -> Span:
    block = attributes["blocksize"]
    return Span(span.step / block, span.before + span.step, span.after)


def _to_depth(span: Span, axis: int, attributes: dict[str, Any], values: list[Any]) -> Span:
    block = attributes["blocksize"]
    return Span(span.step * block, span.before, span.after + span.step * (block - 1))


MOVES: dict[str, Callable[[Span, int, dict[str, Any], list[Any]], Span]] = {
    "Conv": _convolved,
    "MaxPool": _convolved,
    "AveragePool": _convolved,
    "ConvTranspose": _transposed,
    "Pad": _padded,
    "Resize": _resized,
    "DepthToSpace": _from_depth,
    "SpaceToDepth": _to_depth,
}
"""Operators that look at neighbours or change the size, and the functions of their spans."""
