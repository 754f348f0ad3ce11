"""Static int8 quantisation of the convolutions of an image graph, calibrated on examples.

Each convolution is surrounded by QuantizeLinear and DequantizeLinear nodes, and runtimes fuse the three. All
other operators stay float, except the padding before a convolution. ONNX Runtime's own quantiser produces the
same form. It can't choose the number of first convolutions that stay float by a bound, and it can't pad int8.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir

from serving.arrays import Array
from serving.runtime.golden import MIN_PSNR, ParityError, psnr
from serving.runtime.sessions import open_session
from training.graphs.rewrite import rewrite
from training.graphs.rules import Convolution, Sketch

TAIL = 1e-5
"""Fraction of a tensor's values that may lie outside its range, at either end."""

SURPLUS = 0.5
"""Margin in dB above the bound for the calibration examples; other examples may have a lower PSNR."""

Ranges = Mapping[str, tuple[float, float]]


def quantise(model: onnx.ModelProto, examples: Iterable[Mapping[str, Array]]) -> onnx.ModelProto:
    """Quantise all convolutions but the first few, to uint8 activations and int8 weights.

    The first convolutions lose the most precision and take the least time. As few of them as the bound
    requires stay float.

    Args:
        model: a float graph with uint8 images as output. Its transposed convolutions stay float.
        examples: inputs to calibrate the graph with. A dozen suffice.

    Raises:
        ParityError: no convolution can be quantised within the bound.
    """
    examples = list(examples)
    graph = ir.from_proto(model).graph
    products = [node for node in graph if Convolution.read(node, "Conv")]
    if not products:
        raise ParityError("int8 needs a graph with a convolution that can be quantised; got none")
    tensors = {value.name for node in products for value in (node.inputs[0], node.outputs[0]) if value}
    ranges = _ranges(model, sorted(str(name) for name in tensors), examples)
    (output,) = (str(value.name) for value in graph.outputs)
    (expected,) = zip(*_values(model, [output], examples), strict=True)
    wanted, reached = MIN_PSNR["int8"] + SURPLUS, 0.0
    for kept in range(len(products)):
        smaller = Bytes(ranges, {str(node.outputs[0].name) for node in products[kept:]})
        quantised = rewrite(model, [smaller])
        assert quantised is not None
        (found,) = zip(*_values(quantised, [output], examples), strict=True)
        differences = [one.astype(np.int16) - other for one, other in zip(expected, found, strict=True)]
        reached = max(reached, min(map(psnr, differences)))
        if reached >= wanted:
            return quantised
    raise ParityError(f"int8 must reach a PSNR of {wanted:.1f} dB; got {reached:.1f} dB; export without int8")


def _values(
    model: onnx.ModelProto, names: Sequence[str], examples: Iterable[Mapping[str, Array]]
) -> Iterator[list[Array]]:
    """Yield the values of the named tensors of a graph for each example."""
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    outputs = {value.name for value in model.graph.output}
    tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in outputs)
    session = open_session(tapped.SerializeToString(), "cpu")
    for example in examples:
        yield session.run(names, dict(example))


def _ranges(model: onnx.ModelProto, names: Sequence[str], examples: Sequence[Mapping[str, Array]]) -> Ranges:
    """Return the range of each tensor: its outer quantiles, averaged over the examples, extended to 0."""
    ends = [
        [np.quantile(value, (TAIL, 1 - TAIL)) for value in values]
        for values in _values(model, names, examples)
    ]
    means = dict(zip(names, np.mean(ends, 0), strict=True))
    return {name: (min(0.0, float(low)), max(0.0, float(high))) for name, (low, high) in means.items()}


class Bytes:
    """Rule that quantises the convolutions whose outputs have the chosen names."""

    def __init__(self, ranges: Ranges, chosen: set[str]) -> None:
        self.ranges, self.chosen = ranges, chosen
        self._fed: dict[str, ir.Value] = {}
        """Quantised inputs by name, for convolutions with the same input."""

    def __call__(self, node: ir.Node, op: Sketch) -> ir.Value | None:
        """Quantise one convolution, or return None if it is not chosen."""
        found = Convolution.read(node, "Conv")
        name = str(node.outputs[0].name)
        if found is None or name not in self.chosen:
            return None
        scale, _ = self._grid(str(found.image.name))
        weight = found.weight.reshape(len(found.weight), -1)
        bias = np.zeros(len(weight), np.float32) if found.bias is None else found.bias
        # The bias is int32; its scale is the product of the scales of the input and the weight.
        steps = np.maximum(np.abs(weight).max(1) / 127, np.abs(bias) / scale / 2**30)
        steps = np.maximum(steps, 1e-12).astype(np.float32)
        levels = np.round(weight / steps[:, None]).astype(np.int8).reshape(found.weight.shape)
        product = op(
            "Conv",
            self._input(found.image, op),
            op("DequantizeLinear", levels, steps, axis=0),
            op("DequantizeLinear", np.round(bias / (steps * scale)).astype(np.int32), steps * scale, axis=0),
            strides=found.strides,
            pads=found.pads,
        )
        grid = self._grid(name)
        return op("DequantizeLinear", op("QuantizeLinear", product, *grid), *grid)

    def _grid(self, name: str) -> tuple[Array, Array]:
        """Return the scale and the zero point of a tensor in uint8."""
        low, high = self.ranges[name]
        scale = np.array(max(high - low, 1e-6) / 255, np.float32)
        return scale, np.array(np.clip(np.round(-low / scale), 0, 255), np.uint8)

    def _input(self, image: ir.Value, op: Sketch) -> ir.Value:
        """Quantise the input of convolutions once, before its padding unless that is by a constant."""
        name = str(image.name)
        if name not in self._fed:
            grid = self._grid(name)
            pad = image.producer()
            mirrored = pad is not None and pad.op_type == "Pad" and "mode" in pad.attributes
            if pad is None or not mirrored or pad.attributes["mode"].as_string() == "constant":
                levels = op("QuantizeLinear", image, *grid)
            else:
                inside, *sizes = pad.inputs
                levels = op.again(pad, [op("QuantizeLinear", inside, *grid), *sizes])
            self._fed[name] = op("DequantizeLinear", levels, *grid)
        return self._fed[name]
