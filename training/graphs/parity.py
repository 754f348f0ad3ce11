"""Parity checks: a graph must match its PyTorch module at every batch size and image size."""

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
"""Height and width in pixels of the images for batch tests, if the graph accepts images this small."""

MAX_ABS_ERROR, MAX_NORMALISED_ERROR = 1e-5, 5e-5
"""Bounds on the absolute error; the second is for graphs with instance normalisation.

Instance normalisation divides by the deviation within one image. A small deviation amplifies rounding errors.
"""

MAX_LEVEL_ERROR = 1

MIN_PSNR: dict[Precision, float] = {"fp16": 48.0, "int8": 30.0}
"""Minimum PSNR in dB of each smaller type.

48 dB is a difference of one level of 255 in every pixel. At 30 dB the difference is hardly visible.
"""


class ParityError(UserError):
    """A graph does not match its PyTorch module. The message names the worst case."""


Infer = Callable[[Mapping[str, Array]], Array]
"""A function from named inputs to uint8 pixels."""


class Case(NamedTuple):
    """Test inputs of a graph and the expected output of its generator."""

    inputs: dict[str, Array]
    expected: Array
    """Float32, images NCHW in [-1, 1]."""

    @property
    def pixels(self) -> Array:
        """The expected output as pixel levels, float32 NHWC in [0, 255]."""
        levels: Array = np.rint((self.expected + 1) * 127.5).clip(0, 255).transpose(0, 2, 3, 1)
        return levels

    def __str__(self) -> str:
        return ", ".join(f"{name} {value.shape}" for name, value in self.inputs.items())


def cases(specs: Mapping[str, TensorSpec], example: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yield test inputs of a graph: rows of the example, or random images of several sizes.

    Images are not constant, because instance normalisation would divide rounding errors by nearly 0.

    Args:
        specs: the graph's inputs.
        example: example inputs of the generator. Unless they are images, they have at least as many rows as
            the largest batch.
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
    """Run a generator, in evaluation mode and on the CPU, to get the expected output for each input."""
    return [
        Case(
            {key: value.numpy() for key, value in each.items()},
            generator(**{key: as_fed(value) for key, value in each.items()}).numpy(),
        )
        for each in inputs
    ]


def measure(floats: onnx.ModelProto, model: onnx.ModelProto, cases: Iterable[Case]) -> Parity:
    """Compare a graph with its generator on several batch sizes and image sizes.

    Args:
        floats: the graph with the generator's float output.
        model: the graph itself.
        cases: test cases. Among those of one size, the largest batch comes first; the others are its first
            rows.

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
    """Return the maximum absolute difference from the generator's float output.

    Raises:
        ParityError: the difference exceeds the bound for this graph.
    """
    normalised = any(node.op_type == "InstanceNormalization" for node in model.graph.node)
    bound = MAX_NORMALISED_ERROR if normalised else MAX_ABS_ERROR
    worst = float(np.abs(output - case.expected).max())
    if not worst <= bound:
        raise ParityError(f"the graph differs from torch by {worst:.2g} for {case}; {bound:.0e} is allowed")
    return worst


def level_error(output: Array, case: Case) -> int:
    """Return the maximum difference of uint8 pixels, NHWC, from the generator's, in levels.

    Raises:
        ParityError: the difference exceeds one level.
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
    """Compare the pixels of a graph of a smaller type with those of the float graph.

    Args:
        exact: the float graph.
        smaller: runs the graph of the smaller type.
        precision: the smaller type.
        examples: inputs that were not used for calibration.

    Raises:
        ParityError: the PSNR is below the bound, or the output is not an image.
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
    """Check that the PSNR of a smaller type reaches its bound.

    Raises:
        ParityError: the PSNR is below the bound.
    """
    if not loss.psnr >= MIN_PSNR[precision]:
        raise ParityError(
            f"{precision} costs too much: {loss.psnr:.1f} dB to the float graph over {loss.samples} outputs, "
            f"at worst {loss.max_level_error} levels; {MIN_PSNR[precision]:.0f} dB are wanted"
        )


def in_runtime(model: onnx.ModelProto) -> Infer:
    """Return a function that runs a graph on the CPU.

    The function raises ParityError if an image depends on its batch.
    """
    session = open_session(model.SerializeToString(), "cpu")

    def run(inputs: Mapping[str, Array]) -> Array:
        whole: Array = session.run(None, dict(inputs))[0]
        (first,) = session.run(None, {key: value[:1] for key, value in inputs.items()})
        must_not_depend_on_batch(first, whole)
        return whole

    return run


def in_torch(generator: nn.Module) -> Infer:
    """Return a function that runs a generator of images in PyTorch.

    Every operation rounds to the generator's own type. The function raises ParityError if the output is not
    finite.
    """

    @torch.no_grad()
    def run(inputs: Mapping[str, Array]) -> Array:
        output = generator(**{key: as_fed(torch.from_numpy(value)) for key, value in inputs.items()})
        if not torch.isfinite(output).all():
            raise ParityError("a smaller type overflows: what comes of it is not finite")
        return as_served(output)

    return run


def psnr(difference: Array) -> float:
    """Return the peak signal-to-noise ratio in dB, at most 100, of a pixel difference in levels."""
    mean = float(np.square(difference.astype(np.float64)).mean())
    return min(10 * math.log10(255**2 / mean), 100.0) if mean else 100.0


def must_not_depend_on_batch(output: Array, whole: Array) -> None:
    """Check that each image is the same in a smaller and a larger batch.

    A seed must always produce the same image.

    Raises:
        ParityError: an image differs.
    """
    differing = np.any(output != whole[: len(output)], axis=(1, 2, 3)).nonzero()[0]
    if len(differing):
        raise ParityError(
            f"picture {differing[0]} differs between a batch of {len(output)} and one of {len(whole)}"
        )
