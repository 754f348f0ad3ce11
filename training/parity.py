"""The gate: a graph must give what its torch module gives, alone and in any batch."""

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from serving.engine import Array, open_session
from serving.manifest import Parity

BATCHES = (1, 2, 7, 64)
MAX_ABS_ERROR = 1e-5
MAX_LEVEL_ERROR = 1


class ParityError(ValueError):
    """A graph is not equal to the module it came from; the worst case is named."""


def measure(generator: nn.Module, model: onnx.ModelProto, example: dict[str, Tensor]) -> Parity:
    """Hold a graph with both outputs against its module over several batches.

    Args:
        generator: the module, in evaluation mode, on the CPU.
        model: what `training.graph.trace` gave.
        example: inputs of at least as many rows as the largest batch.

    Raises:
        ParityError: the outputs differ by more than the bounds, or an image's bytes depend on its batch.
    """
    session = open_session(model.SerializeToString(), "cpu")
    worst_float, worst_level = 0.0, 0
    whole: Array | None = None
    for size in sorted(BATCHES, reverse=True):
        inputs = {key: value[:size] for key, value in example.items()}
        with torch.no_grad():
            expected = generator(**inputs).numpy()
        output, floats = session.run(None, {key: value.numpy() for key, value in inputs.items()})
        error = float(np.abs(floats - expected).max())
        if not error <= MAX_ABS_ERROR:
            raise ParityError(
                f"the graph differs from torch by {error:.2g} at batch {size}; {MAX_ABS_ERROR:.0e} is allowed"
            )
        worst_float = max(worst_float, error)
        if output.dtype == np.uint8:
            levels = np.rint((expected + 1) * 127.5).clip(0, 255).transpose(0, 2, 3, 1) - output
            worst_level = max(worst_level, int(np.abs(levels).max()))
            whole = output if whole is None else whole
            _must_not_depend_on_batch(output, whole)
    if worst_level > MAX_LEVEL_ERROR:
        raise ParityError(f"the graph's pixels differ from torch's by {worst_level} levels; 1 is allowed")
    return Parity(max_abs_error=worst_float, max_level_error=worst_level, batches=list(BATCHES))


def _must_not_depend_on_batch(output: Array, whole: Array) -> None:
    """Refuse a graph whose pictures change with their neighbours: a seed must name one picture."""
    differing = np.any(output != whole[: len(output)], axis=(1, 2, 3)).nonzero()[0]
    if len(differing):
        raise ParityError(
            f"picture {differing[0]} differs between a batch of {len(output)} and one of {len(whole)}"
        )
