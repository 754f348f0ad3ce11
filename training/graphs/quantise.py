"""A graph of images whose convolutions multiply bytes: calibrated by what flows through it.

Written as QuantizeLinear and DequantizeLinear around each convolution, which runtimes fuse with it; all other
operators stay float, but for the padding in front of a convolution. ONNX Runtime's own quantiser gives the
same form; it can't leave out as many of the first convolutions as a bound asks for, nor pad bytes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir

from serving.arrays import Array
from serving.runtime.sessions import open_session
from training.graphs.parity import MIN_PSNR, ParityError, psnr
from training.graphs.rewrite import rewrite
from training.graphs.rules import Convolution, Sketch

TAIL = 1e-5
"""Share of a tensor's numbers that may lie beyond its range, at either end."""

SURPLUS = 0.5
"""dB over the bound that calibration must reach, for what is measured on others."""

Ranges = Mapping[str, tuple[float, float]]


def quantise(model: onnx.ModelProto, examples: Iterable[Mapping[str, Array]]) -> onnx.ModelProto:
    """Give a graph whose convolutions, all but the first few, multiply unsigned by signed bytes.

    The first lose most, and cost least: as few as reach the bound stay float.

    Args:
        model: a float graph from whatever to uint8 images; its transposed convolutions stay float.
        examples: what it is fed, to calibrate it: a dozen suffice.

    Raises:
        ParityError: nothing can be quantised within the bound.
    """
    examples = list(examples)
    graph = ir.from_proto(model).graph
    products = [node for node in graph if Convolution.read(node, "Conv")]
    if not products:
        raise ParityError("there is no convolution in this graph that bytes would make faster")
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
    raise ParityError(f"no convolution can be quantised within {wanted:.1f} dB; {reached:.1f} dB came")


def _values(
    model: onnx.ModelProto, names: Sequence[str], examples: Iterable[Mapping[str, Array]]
) -> Iterator[list[Array]]:
    """Give the values of some tensors of a graph, for one example after the other."""
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    outputs = {value.name for value in model.graph.output}
    tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in outputs)
    session = open_session(tapped.SerializeToString(), "cpu")
    for example in examples:
        yield session.run(names, dict(example))


def _ranges(model: onnx.ModelProto, names: Sequence[str], examples: Sequence[Mapping[str, Array]]) -> Ranges:
    """Give the range of each tensor: its outer quantiles, in the mean over the examples, and 0."""
    ends = [
        [np.quantile(value, (TAIL, 1 - TAIL)) for value in values]
        for values in _values(model, names, examples)
    ]
    means = dict(zip(names, np.mean(ends, 0), strict=True))
    return {name: (min(0.0, float(low)), max(0.0, float(high))) for name, (low, high) in means.items()}


class Bytes:
    """The rule that makes some convolutions, by the names of their outputs, multiply bytes."""

    def __init__(self, ranges: Ranges, chosen: set[str]) -> None:
        self.ranges, self.chosen = ranges, chosen
        self._fed: dict[str, ir.Value] = {}
        """What is quantised already, for convolutions that share it."""

    def __call__(self, node: ir.Node, op: Sketch) -> ir.Value | None:
        """Rewrite one convolution."""
        found = Convolution.read(node, "Conv")
        name = str(node.outputs[0].name)
        if found is None or name not in self.chosen:
            return None
        scale, _ = self._grid(str(found.image.name))
        weight = found.weight.reshape(len(found.weight), -1)
        bias = np.zeros(len(weight), np.float32) if found.bias is None else found.bias
        # The bias has 32 bits, in steps of both scales.
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
        """Give the scale and the zero point of a tensor's bytes."""
        low, high = self.ranges[name]
        scale = np.array(max(high - low, 1e-6) / 255, np.float32)
        return scale, np.array(np.clip(np.round(-low / scale), 0, 255), np.uint8)

    def _input(self, image: ir.Value, op: Sketch) -> ir.Value:
        """Quantise what convolutions are fed, once; where it was mirrored to a larger size, before that."""
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
