"""Rewrite rules towards plain convolutions, the fastest operators of ONNX Runtime's CPU provider.

The provider runs transposed convolutions without its blocked layout. It runs convolutions directly, in full
vectors of output channels. Each rule maps one node to a value that is equal up to rounding, or to None if the
rule does not match.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from serving.arrays import Array

Operand = ir.Value | Array | Sequence[int] | None

FEW_CHANNELS = 4
"""Maximum number of few channels: four times as many fit in the widest vectors, of 16 floats."""

MANY_CHANNELS = 64
"""Number of channels from which fewer multiplications are worth extra passes over the data."""

FEW_PIXELS = 64
"""Pixels of feature maps for which fewer multiplications save too little time for a third more weights."""

ELEMENTWISE = ("Add", "Cast", "Clip", "Div", "LeakyRelu", "Mul", "Relu", "Round", "Sigmoid", "Sub", "Tanh")
MOVING = ("Concat", "DepthToSpace", "Reshape", "Slice", "Unsqueeze")


class Sketch:
    """Builder of the nodes that replace another node."""

    def __init__(self, names: Iterator[str]) -> None:
        self.tape, self._names = Tape(), names

    def __call__(self, operator: str, *operands: Operand, **attributes: Any) -> ir.Value:
        """Add a node; operands are values, arrays or shapes, or None for omitted trailing operands."""
        return self.tape.op(
            operator, [self._value(each) for each in operands if each is not None], attributes
        )

    def again(self, node: ir.Node, operands: Sequence[ir.Value | None]) -> ir.Value:
        """Add a copy of a node with other operands."""
        return self.tape.op(node.op_type, operands, node.attributes)

    def _value(self, operand: Operand) -> ir.Value:
        if isinstance(operand, ir.Value):
            return operand
        array = np.asarray(operand, None if isinstance(operand, np.ndarray) else np.int64, order="C")
        return self.tape.initializer(ir.tensor(array, name=next(self._names)))


Rule = Callable[[ir.Node, Sketch], ir.Value | None]


class Convolution(NamedTuple):
    """A 2-D convolution or transposed convolution with one group and constant weights."""

    image: ir.Value
    weight: Array
    bias: Array | None
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    """Padding: top, left, bottom, right."""

    extra: tuple[int, ...]
    """Output padding of a transposed convolution: rows at the bottom, columns on the right."""

    @property
    def kernel(self) -> tuple[int, ...]:
        """Height and width of the kernel."""
        return self.weight.shape[2:]

    @staticmethod
    def read(node: ir.Node, operator: str) -> "Convolution | None":
        """Return a node as a Convolution, or None if it does not match."""
        attributes = {name: attribute.value for name, attribute in node.attributes.items()}
        plain = attributes.get("group", 1) == 1 and set(attributes.get("dilations", (1,))) == {1}
        plain = (
            plain and attributes.get("auto_pad", "NOTSET") == "NOTSET" and "output_shape" not in attributes
        )
        if node.op_type != operator or not plain:
            return None
        image, weight, bias = (*node.inputs, None)[:3]
        array = _constant(weight)
        if (
            image is None
            or array is None
            or array.ndim != 4
            or (bias is not None and _constant(bias) is None)
        ):
            return None
        return Convolution(
            image,
            array,
            _constant(bias),
            tuple(attributes.get("strides", (1, 1))),
            tuple(attributes.get("pads", (0, 0, 0, 0))),
            tuple(attributes.get("output_padding", (0, 0))),
        )


def _constant(value: ir.Value | None) -> Array | None:
    return None if value is None or value.const_value is None else value.const_value.numpy()


def _is_scalar(value: ir.Value) -> bool:
    """Return whether a value is a constant number that does not change shapes by broadcasting."""
    array = _constant(value)
    return array is not None and array.size == 1 and array.ndim <= 1


def elementwise_first(node: ir.Node, op: Sketch) -> ir.Value | None:
    """Move an elementwise operator before a data movement, next to the convolution it can fuse with."""
    if node.op_type not in ELEMENTWISE or not node.inputs:
        return None
    moved, *scalars = node.inputs
    moving = moved.producer() if moved is not None else None
    if moved is None or moving is None or moving.op_type not in MOVING or len(moved.uses()) > 1:
        return None
    if any(value is not None and not _is_scalar(value) for value in scalars):
        return None

    def changed(value: ir.Value | None) -> ir.Value:
        return op.again(node, [value, *scalars])

    if moving.op_type == "Concat":
        return op.again(moving, [changed(value) for value in moving.inputs])
    data, *how = moving.inputs
    return op.again(moving, [changed(data), *how])


def latent_as_matrix(node: ir.Node, op: Sketch) -> ir.Value | None:
    """Replace a transposed convolution of a 1x1 input by a matrix product."""
    found = Convolution.read(node, "ConvTranspose")
    if found is None or found.image.shape is None or tuple(found.image.shape[2:]) != (1, 1):
        return None
    if any(found.pads) or any(found.extra):
        return None
    before, after, rows, columns = found.weight.shape
    latents = op("Reshape", found.image, (-1, before))
    bias = None if found.bias is None else np.repeat(found.bias, rows * columns)
    numbers = op("Gemm", latents, found.weight.reshape(before, -1), bias)
    return op("Reshape", numbers, (-1, after, rows, columns))


def phases(node: ir.Node, op: Sketch) -> ir.Value | None:
    """Replace a transposed convolution of stride s by s * s convolutions with interleaved outputs.

    Output pixel s * j + a of a row depends only on the kernel columns t with t = a + pad (mod s), and on
    input pixel j + (a + pad - t) / s. No multiplication is added and none is by zero. A transposed
    convolution with few output channels is kept, because its parts would leave most of a vector empty.
    """
    found = Convolution.read(node, "ConvTranspose")
    if found is None or found.weight.shape[1] <= FEW_CHANNELS or found.strides == (1, 1):
        return None
    taps = [_taps(found, axis) for axis in (0, 1)]
    if not all(taps):
        return None
    down, right = taps
    rows = []
    for above, below, ys in down:
        columns = []
        for left, behind, xs in right:
            weight = found.weight[:, :, ys][:, :, :, xs].transpose(1, 0, 2, 3)
            columns.append(op("Conv", found.image, weight, found.bias, pads=(above, left, below, behind)))
        rows.append(interleave_columns(op, columns))
    return _interleave_rows(op, rows, found)


class Taps(NamedTuple):
    """One phase of an axis: padding at its beginning and end, and the kernel positions in order."""

    begin: int
    end: int
    places: list[int]


def _taps(found: Convolution, axis: int) -> list[Taps]:
    """Return an axis's phases, or [] if the output is not exactly stride times as long as the input."""
    kernel, stride = found.kernel[axis], found.strides[axis]
    begin, end = found.pads[axis], found.pads[axis + 2]
    if kernel + found.extra[axis] - begin - end != stride:
        return []
    taps = []
    for phase in range(stride):
        places = [place for place in reversed(range(kernel)) if (phase + begin - place) % stride == 0]
        offsets = [(phase + begin - place) // stride for place in places]
        if not offsets or offsets[0] > 0 or offsets[-1] < 0:
            return []
        taps.append(Taps(-offsets[0], offsets[-1], places))
    return taps


def interleave_columns(op: Sketch, columns: Sequence[ir.Value]) -> ir.Value:
    """Interleave images (N, C, H, W) column by column: (N, C, H, len(columns) * W)."""
    if len(columns) == 1:
        return columns[0]
    stacked = op("Concat", *(op("Unsqueeze", each, (-1,)) for each in columns), axis=-1)
    return op("Reshape", stacked, (0, 0, 0, -1))


def _interleave_rows(op: Sketch, rows: Sequence[ir.Value], found: Convolution) -> ir.Value:
    """Interleave images of one size row by row."""
    if len(rows) == 1:
        return rows[0]
    channels, times = found.weight.shape[1], found.strides[1]
    side_by_side = op("Concat", *rows, axis=-1)
    known = None if found.image.shape is None else found.image.shape[3]
    if isinstance(known, int):
        return op("Reshape", side_by_side, (0, channels, -1, times * known))
    width = op("Mul", op("Shape", found.image, start=3), (times,))
    return op("Reshape", side_by_side, op("Concat", (0, channels, -1), width, axis=0))


def few_channels(node: ir.Node, op: Sketch) -> ir.Value | None:
    """Compute blocks of 2x2 pixels of an image with few channels: four times the channels fill a vector."""
    found = Convolution.read(node, "Conv")
    if found is None or found.strides != (1, 1) or len(found.weight) > FEW_CHANNELS:
        return None
    if min(found.kernel) < 3:  # the larger kernel would cost as much as full vectors save
        return None
    channels, before, height, width = found.weight.shape
    weight = np.zeros((2, 2, channels, before, height + 1, width + 1), found.weight.dtype)
    for y in (0, 1):
        for x in (0, 1):
            weight[y, x, :, :, y : y + height, x : x + width] = found.weight
    above, left, below, right = found.pads
    blocks = op(
        "Conv",
        found.image,
        weight.reshape(4 * channels, before, height + 1, width + 1),
        None if found.bias is None else np.tile(found.bias, 4),
        strides=(2, 2),
        pads=(above, left, below + 1, right + 1),
    )
    return _crop(op, op("DepthToSpace", blocks, blocksize=2, mode="DCR"), found, (2, 3))


def fewer_products(node: ir.Node, op: Sketch) -> ir.Value | None:
    """Compute a 3x3 convolution's columns in pairs, with 4 products instead of 6: Winograd's F(2, 3).

    It is applied along one axis only. Along both axes, extra passes over the data would cost as much as fewer
    products save. Sources: Winograd 1980; Lavin and Gray 2016, section 4.1.
    """
    found = Convolution.read(node, "Conv")
    if found is None or found.strides != (1, 1) or found.kernel != (3, 3):
        return None
    after, before, _, _ = found.weight.shape
    if min(after, before) < MANY_CHANNELS or before % 16 or after % 16:
        return None
    height, width = list(found.image.shape)[2:] if found.image.shape else (None, None)
    if isinstance(height, int) and isinstance(width, int) and height * width <= FEW_PIXELS:
        return None
    first, middle, last = np.moveaxis(found.weight, 3, 0)
    weights = (first, (first + middle + last) / 2, (first - middle + last) / 2, -last)
    combined = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
    above, left, below, right = found.pads

    def product(index: int, bias: Array | None = None) -> ir.Value:
        each = np.array(combined[index], found.weight.dtype)
        data = op(
            "Conv",
            found.image,
            np.broadcast_to(each, (before, 1, 1, 4)),
            group=before,
            strides=(1, 2),
            pads=(0, left, 0, right + 1),
        )
        return op("Conv", data, weights[index][..., None], bias, pads=(above, 0, below, 0))

    one, two = product(1), product(2)
    # A convolution rather than Neg or Sub, because those leave the blocked layout of convolutions.
    minus_two = op("Conv", two, np.full((after, 1, 1, 1), -1, found.weight.dtype), group=after)
    even = op("Add", product(0, found.bias), op("Add", one, two))
    odd = op("Add", minus_two, op("Add", one, product(3, found.bias)))
    return _crop(op, interleave_columns(op, (even, odd)), found, (3,))


def _crop(op: Sketch, image: ir.Value, found: Convolution, axes: tuple[int, ...]) -> ir.Value:
    """Crop a convolution's output, which was computed at even sizes, to its own size along some axes."""
    shape = found.image.shape
    change = {axis: found.pads[axis - 2] + found.pads[axis] - found.kernel[axis - 2] + 1 for axis in axes}
    sizes = [None if shape is None else shape[axis] for axis in axes]
    if all(
        isinstance(size, int) and (size + change[axis]) % 2 == 0
        for axis, size in zip(axes, sizes, strict=True)
    ):
        return image
    ends = op("Add", op("Shape", found.image, start=axes[0]), np.array(list(change.values())))
    return op("Slice", image, [0] * len(axes), ends, axes)


DIRECT: tuple[Rule, ...] = (latent_as_matrix, phases, few_channels)
"""Rules that keep the products of the original graph; int8 graphs are rewritten by these only."""

RULES = (*DIRECT, fewer_products)
