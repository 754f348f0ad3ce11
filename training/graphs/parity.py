"""Parity checks: a graph must match its PyTorch module at every batch size and image size."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from serving.arrays import Array
from serving.runtime.golden import (
    Case,
    ParityError,
    float_error,
    level_error,
    max_abs_error,
    must_be_near,
    must_not_depend_on_batch,
    psnr,
)
from serving.runtime.manifest import Loss, Parity, Precision
from serving.runtime.sessions import open_session
from serving.runtime.tensor import Tensor as TensorSpec
from training.graphs.pixels import as_fed, as_served
from training.graphs.trace import GraphError

BATCHES = (1, 2, 7, 64)
IMAGE_BATCHES = (1, 2, 7)
SMALL = 32
"""Height and width in pixels of the images for batch tests, if the graph accepts images this small."""

Infer = Callable[[Mapping[str, Array]], Array]
"""A function from named inputs to uint8 pixels."""


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
    """Run a generator, in evaluation mode and on the CPU, to get the expected output for each input.

    It computes in float64, so that a graph's error is its own rounding and not PyTorch's, too.

    Raises:
        GraphError: the generator does not return one tensor with a row for each row of its inputs.
    """
    exact = copy.deepcopy(generator).double()
    return [
        Case({key: value.numpy() for key, value in each.items()}, _output(exact, generator, each).numpy())
        for each in inputs
    ]


def _output(exact: nn.Module, generator: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """Return the output in float32; of the generator itself, where it makes float32 tensors of its own."""
    fed = {key: as_fed(value) for key, value in inputs.items()}
    try:
        output = exact(
            **{key: value.double() if value.is_floating_point() else value for key, value in fed.items()}
        )
    except RuntimeError:
        output = generator(**fed)
    (rows,) = {len(value) for value in inputs.values()}
    if not isinstance(output, Tensor) or output.shape[:1] != (rows,):
        got = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise GraphError(
            f"a generator must return one tensor with a row for each input row; got {got} for {rows} rows"
        )
    return output.float()


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
    bound = max_abs_error(model.SerializeToString())
    worst_float, worst_level = 0.0, 0
    batches, sizes = set[int](), set[tuple[int, int]]()
    wholes: dict[tuple[int, ...], Array] = {}
    for case in cases:
        (output,) = session.run(None, case.inputs)
        batches.add(len(output))
        sizes |= {(value.shape[1], value.shape[2]) for value in case.inputs.values() if value.ndim == 4}
        worst_float = max(worst_float, float_error(exact.run(None, case.inputs)[0], case, bound))
        if output.dtype == np.uint8:
            worst_level = max(worst_level, level_error(output, case))
            must_not_depend_on_batch(output, wholes.setdefault(output.shape[1:], output))
    return Parity(
        max_abs_error=worst_float, max_level_error=worst_level, batches=sorted(batches), sizes=sorted(sizes)
    )


def measure_loss(
    exact: onnx.ModelProto,
    smaller: Infer,
    precision: Precision,
    examples: Iterable[Mapping[str, Array]],
) -> Loss:
    """Compare the pixels of a graph in a smaller precision with those of the float graph.

    Args:
        exact: the float graph.
        smaller: runs the graph in the smaller precision.
        precision: the smaller precision.
        examples: inputs that were not used for calibration.

    Raises:
        ParityError: the PSNR is below the bound, or the output is not an image.
    """
    if exact.graph.output[0].type.tensor_type.elem_type != onnx.TensorProto.UINT8:
        raise ParityError(f"{precision} needs a graph with images as output; got vectors, which stay fp32")
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
            raise ParityError("the output in the smaller precision must be finite; got NaN or infinity")
        return as_served(output)

    return run
