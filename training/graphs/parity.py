"""The gate: a graph must give what its torch module gives, alone and in any batch, at any size."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from serving.arrays import Array
from serving.errors import UserError
from serving.runtime.manifest import Loss, Parity, Precision
from serving.runtime.manifest import Tensor as TensorSpec
from serving.runtime.sessions import open_session
from training.graphs.pixels import as_fed, as_served

BATCHES = (1, 2, 7, 64)
IMAGE_BATCHES = (1, 2, 7)
SMALL = 32
"""Side of the images that batches are tried with, where the graph takes such small ones."""

MAX_ABS_ERROR, MAX_NORMALISED_ERROR = 1e-5, 5e-5
"""Instance normalisation divides by what varies within one image, and by rounding where little does."""

MAX_LEVEL_ERROR = 1

MIN_PSNR: dict[Precision, float] = {"fp16": 48.0, "int8": 30.0}
"""What a smaller type must reach, dB: 48 is one level of 255 everywhere, 30 is what eyes hardly see."""


class ParityError(UserError):
    """A graph is not equal to the module it came from; the worst case is named."""


Infer = Callable[[Mapping[str, Array]], Array]
"""Gives uint8 pixels for inputs."""


class Case(NamedTuple):
    """What a graph is tried with, and what its generator gives for it."""

    inputs: dict[str, Array]
    expected: Array
    """Float32, images NCHW in [-1, 1]."""

    @property
    def pixels(self) -> Array:
        """What it gives as levels of pixels, float32 NHWC."""
        levels: Array = np.rint((self.expected + 1) * 127.5).clip(0, 255).transpose(0, 2, 3, 1)
        return levels

    def __str__(self) -> str:
        return ", ".join(f"{name} {value.shape}" for name, value in self.inputs.items())


def cases(specs: Mapping[str, TensorSpec], example: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Give the inputs that a graph is tried with: the example's rows, or random images of several sizes.

    Images must not be constant: instance normalisation would divide noise by next to nothing.

    Args:
        specs: the graph's inputs.
        example: of what its generator is fed; where that is no image, at least as many rows as the largest
            batch.
    """
    if "image" not in specs:
        for size in sorted(BATCHES, reverse=True):
            yield {key: value[:size] for key, value in example.items()}
        return
    spec = specs["image"]
    multiple, least = spec.grid
    side = max(least, -(-SMALL // multiple) * multiple)
    draws = torch.Generator().manual_seed(0)

    def draw(size: int, height: int, width: int) -> Tensor:
        return torch.randint(256, (size, height, width, spec.size), generator=draws, dtype=torch.uint8)

    images = draw(max(IMAGE_BATCHES), side, side)
    for size in sorted(IMAGE_BATCHES, reverse=True):
        yield {"image": images[:size]}
    sizes = [(side, side + multiple), (side + multiple, 2 * side)]
    if spec.trained_size and spec.trained_size not in (*sizes, (side, side)):
        sizes.append(spec.trained_size)
    for height, width in sizes:
        yield {"image": draw(1, height, width)}


@torch.no_grad()
def solve(generator: nn.Module, inputs: Iterable[dict[str, Tensor]]) -> list[Case]:
    """Let a generator, in evaluation mode and on the CPU, give what its graphs will have to give."""
    return [
        Case(
            {key: value.numpy() for key, value in each.items()},
            generator(**{key: as_fed(value) for key, value in each.items()}).numpy(),
        )
        for each in inputs
    ]


def measure(floats: onnx.ModelProto, model: onnx.ModelProto, cases: Iterable[Case]) -> Parity:
    """Hold a graph against its generator over several batches and sizes.

    Args:
        floats: the graph made to give the generator's own output.
        model: the graph itself.
        cases: of one size, the largest batch first and the others its first rows.

    Raises:
        ParityError: the outputs differ by more than the bounds, or an image's bytes depend on its batch.
    """
    exact, session = (open_session(each.SerializeToString(), "cpu") for each in (floats, model))
    worst_float, worst_level = 0.0, 0
    batches, sizes = set[int](), set[tuple[int, int]]()
    wholes: dict[tuple[int, ...], Array] = {}
    for case in cases:
        (output,) = session.run(None, case.inputs)
        batches.add(len(output))
        sizes |= {(value.shape[1], value.shape[2]) for value in case.inputs.values() if value.ndim == 4}
        worst_float = max(worst_float, float_error(exact.run(None, case.inputs)[0], case, model))
        if output.dtype == np.uint8:
            worst_level = max(worst_level, level_error(output, case))
            must_not_depend_on_batch(output, wholes.setdefault(output.shape[1:], output))
    return Parity(
        max_abs_error=worst_float, max_level_error=worst_level, batches=sorted(batches), sizes=sorted(sizes)
    )


def float_error(output: Array, case: Case, model: onnx.ModelProto) -> float:
    """Give the greatest difference of numbers from the generator's own.

    Raises:
        ParityError: it is more than the bound for such a graph.
    """
    normalised = any(node.op_type == "InstanceNormalization" for node in model.graph.node)
    bound = MAX_NORMALISED_ERROR if normalised else MAX_ABS_ERROR
    worst = float(np.abs(output - case.expected).max())
    if not worst <= bound:
        raise ParityError(f"the graph differs from torch by {worst:.2g} for {case}; {bound:.0e} is allowed")
    return worst


def level_error(output: Array, case: Case) -> int:
    """Give the greatest difference of uint8 pixels, NHWC, from the generator's, in levels.

    Raises:
        ParityError: it is more than one.
    """
    worst = int(np.abs(case.pixels - output).max())
    if worst > MAX_LEVEL_ERROR:
        raise ParityError(
            f"the graph's pixels differ from torch's by {worst} levels for {case}; 1 is allowed"
        )
    return worst


def measure_loss(
    exact: onnx.ModelProto,
    smaller: Infer,
    precision: Precision,
    examples: Iterable[Mapping[str, Array]],
) -> Loss:
    """Hold what a smaller type gives against the float graph, pixel by pixel.

    Args:
        exact: the float graph.
        smaller: runs the other.
        precision: its type.
        examples: inputs that none was calibrated with.

    Raises:
        ParityError: the pixels differ by more than the bound, or there are none.
    """
    if exact.graph.output[0].type.tensor_type.elem_type != onnx.TensorProto.UINT8:
        raise ParityError("smaller types are for graphs of images; points and vectors stay float")
    session = open_session(exact.SerializeToString(), "cpu")
    difference = np.concatenate(
        [session.run(None, dict(inputs))[0].astype(np.int16) - smaller(inputs) for inputs in examples]
    )
    loss = Loss(
        psnr=round(psnr(difference), 2),
        max_level_error=int(np.abs(difference).max()),
        samples=len(difference),
    )
    must_be_near(loss, precision)
    return loss


def must_be_near(loss: Loss, precision: Precision) -> None:
    """Refuse a smaller type that costs more than its bound allows."""
    if not loss.psnr >= MIN_PSNR[precision]:
        raise ParityError(
            f"{precision} costs too much: {loss.psnr:.1f} dB to the float graph over {loss.samples} outputs, "
            f"at worst {loss.max_level_error} levels; {MIN_PSNR[precision]:.0f} dB are wanted"
        )


def in_runtime(model: onnx.ModelProto) -> Infer:
    """Run a graph on the CPU; what depends on the batch is refused with a ParityError."""
    session = open_session(model.SerializeToString(), "cpu")

    def run(inputs: Mapping[str, Array]) -> Array:
        whole: Array = session.run(None, dict(inputs))[0]
        (first,) = session.run(None, {key: value[:1] for key, value in inputs.items()})
        must_not_depend_on_batch(first, whole)
        return whole

    return run


def in_torch(generator: nn.Module) -> Infer:
    """Run a generator of images as it is, rounding after every operation as its own type does."""

    @torch.no_grad()
    def run(inputs: Mapping[str, Array]) -> Array:
        output = generator(**{key: as_fed(torch.from_numpy(value)) for key, value in inputs.items()})
        if not torch.isfinite(output).all():
            raise ParityError("a smaller type overflows: what comes of it is not finite")
        return as_served(output)

    return run


def psnr(difference: Array) -> float:
    """Give the peak signal to noise ratio of a difference of pixels, in levels: dB, 100 at most."""
    mean = float(np.square(difference.astype(np.float64)).mean())
    return min(10 * math.log10(255**2 / mean), 100.0) if mean else 100.0


def must_not_depend_on_batch(output: Array, whole: Array) -> None:
    """Refuse a graph whose pictures change with their neighbours: a seed must name one picture."""
    differing = np.any(output != whole[: len(output)], axis=(1, 2, 3)).nonzero()[0]
    if len(differing):
        raise ParityError(
            f"picture {differing[0]} differs between a batch of {len(output)} and one of {len(whole)}"
        )
