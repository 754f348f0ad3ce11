"""The variants of one graph, each checked: portable, faster on the CPU, fp16 and int8."""

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import onnx
from torch import Tensor, nn

from serving.arrays import Array
from serving.runtime.golden import Case, ParityError
from serving.runtime.manifest import Loss, Parity, Precision, Provider
from training.graphs import parity
from training.graphs.pixels import all_as_served
from training.graphs.quantise import quantise
from training.graphs.rewrite import rewrite
from training.graphs.rules import DIRECT, RULES
from training.graphs.trace import only, trace

logger = logging.getLogger("ganzoo")

SmallPrecision = Literal["fp16", "int8"]

EXAMPLES = 4
"""Number of draws that calibrate int8; as many other draws measure its loss."""


class Proven(NamedTuple):
    """A checked graph and its measured difference from the generator."""

    model: onnx.ModelProto
    provider: Provider
    precision: Precision
    parity: Parity | None = None
    loss: Loss | None = None


class Smaller(NamedTuple):
    """Additional variants in smaller precisions than float32, and the inputs to measure them with."""

    precisions: tuple[SmallPrecision, ...]
    """Smaller precisions: fp16 for CUDA, calibrated int8 for the CPU."""

    draw: Callable[[str, int], dict[str, Tensor]]
    """Function from a graph's name and a number to inputs; every number draws different ones."""

    def examples(self, name: str, numbers: range) -> list[dict[str, Array]]:
        """Return inputs of a graph as arrays, one set for each number."""
        return [all_as_served(self.draw(name, each)) for each in numbers]


def variants(
    name: str,
    generator: nn.Module,
    example: dict[str, Tensor],
    multiple: int,
    cases: Sequence[Case],
    wanted: Smaller | None,
) -> Iterator[Proven]:
    """Yield the graph of a generator, a variant that is faster on the CPU and variants in smaller precisions.

    Args:
        name: the graph's name.
        generator: the generator, in evaluation mode, on the CPU.
        example: example inputs, as in `training.graphs.trace.trace`.
        multiple: number that divides every height and width of an image.
        cases: test cases of the graphs.
        wanted: smaller precisions to add, if any.

    Raises:
        UserError: the generator can't be exported (`GraphError`), or a variant differs from it by more than
            its bound (`ParityError`).
    """
    traced = trace(generator, example, multiple)
    model, floats = only(traced, "output"), only(traced, "float_output")
    yield Proven(model, "any", "fp32", parity=parity.measure(floats, model, cases))
    yield from _faster(model, floats, cases)
    if wanted is None:
        return
    for precision in wanted.precisions:
        others = wanted.examples(name, range(EXAMPLES, 2 * EXAMPLES))
        match precision:
            case "fp16":
                half = Half(generator)
                # The CPU provider computes in float32 and does not overflow. PyTorch rounds as CUDA does.
                loss = parity.measure_loss(model, parity.in_torch(half), precision, others)
                small = only(trace(half, example, multiple), "output")
                yield Proven(small, "cuda", precision, loss=loss)
            case "int8":
                direct = rewrite(model, DIRECT) or model
                small = quantise(direct, wanted.examples(name, range(EXAMPLES)))
                loss = parity.measure_loss(model, parity.in_runtime(small), precision, others)
                yield Proven(small, "cpu", precision, loss=loss)


def _faster(model: onnx.ModelProto, floats: onnx.ModelProto, cases: Sequence[Case]) -> Iterator[Proven]:
    """Yield a variant that is faster on the CPU: by all rules, or by DIRECT if rounding breaks parity."""
    tried = None
    for rules in (RULES, DIRECT):
        faster, faster_floats = rewrite(model, rules), rewrite(floats, rules)
        if faster is None or faster_floats is None or faster == tried:
            return
        tried = faster
        try:
            yield Proven(faster, "cpu", "fp32", parity=parity.measure(faster_floats, faster, cases))
        except ParityError as error:
            logger.warning("the faster graph for the CPU is not exported: %s", error)
        else:
            return


class Half(nn.Module):
    """A generator that computes in half precision, with float32 inputs and outputs."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = copy.deepcopy(generator).half()

    def forward(self, **inputs: Tensor) -> Tensor:
        """Return the generator's output in float32."""
        fed = {name: value.half() if value.is_floating_point() else value for name, value in inputs.items()}
        output: Tensor = self.generator(**fed)
        return output.float()
