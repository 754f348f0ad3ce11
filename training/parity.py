"""The gate: a graph must give what its torch module gives, alone and in any batch, at any size."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from serving import manifest
from serving.engine import Array, open_session
from serving.manifest import Parity
from training.pixels import as_fed

BATCHES = (1, 2, 7, 64)
IMAGE_BATCHES = (1, 2, 7)
SMALL = 32
"""Side of the images that batches are tried with, where the graph takes such small ones."""

MAX_ABS_ERROR, MAX_NORMALISED_ERROR = 1e-5, 5e-5
"""Instance normalisation divides by what varies within one image, and by rounding where little does."""

MAX_LEVEL_ERROR = 1


class ParityError(ValueError):
    """A graph is not equal to the module it came from; the worst case is named."""


def cases(specs: Mapping[str, manifest.Tensor], example: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
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


def measure(generator: nn.Module, model: onnx.ModelProto, cases: Iterable[dict[str, Tensor]]) -> Parity:
    """Hold a graph with both outputs against its module over several batches and sizes.

    Args:
        generator: the module, in evaluation mode, on the CPU.
        model: what `training.graph.trace` gave.
        cases: inputs of the graph; of one size, the largest batch first and the others its first rows.

    Raises:
        ParityError: the outputs differ by more than the bounds, or an image's bytes depend on its batch.
    """
    session = open_session(model.SerializeToString(), "cpu")
    normalised = any(node.op_type == "InstanceNormalization" for node in model.graph.node)
    bound = MAX_NORMALISED_ERROR if normalised else MAX_ABS_ERROR
    worst_float, worst_level = 0.0, 0
    batches, sizes = set[int](), set[tuple[int, int]]()
    wholes: dict[tuple[int, ...], Array] = {}
    for inputs in cases:
        with torch.no_grad():
            expected = generator(**{key: as_fed(value) for key, value in inputs.items()}).numpy()
        output, floats = session.run(None, {key: value.numpy() for key, value in inputs.items()})
        batches.add(len(output))
        sizes |= {(value.shape[1], value.shape[2]) for value in inputs.values() if value.ndim == 4}
        error = float(np.abs(floats - expected).max())
        if not error <= bound:
            raise ParityError(
                f"the graph differs from torch by {error:.2g} for {_shapes(inputs)}; {bound:.0e} is allowed"
            )
        worst_float = max(worst_float, error)
        if output.dtype == np.uint8:
            levels = np.rint((expected + 1) * 127.5).clip(0, 255).transpose(0, 2, 3, 1) - output
            worst_level = max(worst_level, int(np.abs(levels).max()))
            _must_not_depend_on_batch(output, wholes.setdefault(output.shape[1:], output))
    if worst_level > MAX_LEVEL_ERROR:
        raise ParityError(f"the graph's pixels differ from torch's by {worst_level} levels; 1 is allowed")
    return Parity(
        max_abs_error=worst_float, max_level_error=worst_level, batches=sorted(batches), sizes=sorted(sizes)
    )


def _shapes(inputs: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} {tuple(value.shape)}" for name, value in inputs.items())


def _must_not_depend_on_batch(output: Array, whole: Array) -> None:
    """Refuse a graph whose pictures change with their neighbours: a seed must name one picture."""
    differing = np.any(output != whole[: len(output)], axis=(1, 2, 3)).nonzero()[0]
    if len(differing):
        raise ParityError(
            f"picture {differing[0]} differs between a batch of {len(output)} and one of {len(whole)}"
        )
