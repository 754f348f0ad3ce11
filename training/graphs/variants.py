"""The files of one graph, each proven: for every runtime, faster on the CPU, smaller."""

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import onnx
from torch import Tensor, nn

from serving.arrays import Array
from serving.runtime.manifest import Loss, Parity, Precision, Provider
from training.graphs import parity
from training.graphs.parity import Case, ParityError
from training.graphs.pixels import all_as_served
from training.graphs.quantise import quantise
from training.graphs.rewrite import rewrite
from training.graphs.rules import DIRECT, RULES
from training.graphs.trace import only, trace

logger = logging.getLogger("ganzoo")

SmallPrecision = Literal["fp16", "int8"]

EXAMPLES = 4
"""Draws that int8 is calibrated with; so many others measure what it costs."""


class Proven(NamedTuple):
    """A file that may leave, and how far it is from its generator."""

    model: onnx.ModelProto
    provider: Provider
    precision: Precision
    parity: Parity | None = None
    loss: Loss | None = None


class Smaller(NamedTuple):
    """Types smaller than float32 that graphs are wanted in too."""

    precisions: tuple[SmallPrecision, ...]
    """fp16, for CUDA; int8, calibrated, for the CPU."""

    draw: Callable[[str, int], dict[str, Tensor]]
    """Gives what a graph, by its name, is fed, to calibrate and measure it: others for each number."""

    def examples(self, name: str, numbers: range) -> list[dict[str, Array]]:
        """Give what a graph is fed, as arrays."""
        return [all_as_served(self.draw(name, each)) for each in numbers]


def variants(
    name: str,
    generator: nn.Module,
    example: dict[str, Tensor],
    multiple: int,
    cases: Sequence[Case],
    wanted: Smaller | None,
) -> Iterator[Proven]:
    """Make the graph of a generator, what computes the same faster on the CPU, and what is smaller.

    Args:
        name: the graph's.
        generator: in evaluation mode, on the CPU.
        example: what it is traced with, as `training.graphs.trace.trace` wants it.
        multiple: of which an image's height and width are multiples.
        cases: what the graphs are tried with.
        wanted: smaller types.

    Raises:
        UserError: it can't become a graph (`GraphError`), one is not equal to it, or costs more than is
            allowed (`ParityError`).
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
                # The CPU provider would compute in float32 and see no overflow: torch rounds as CUDA does.
                loss = parity.measure_loss(model, parity.in_torch(half), precision, others)
                small = only(trace(half, example, multiple), "output")
                yield Proven(small, "cuda", precision, loss=loss)
            case "int8":
                direct = rewrite(model, DIRECT) or model
                small = quantise(direct, wanted.examples(name, range(EXAMPLES)))
                loss = parity.measure_loss(model, parity.in_runtime(small), precision, others)
                yield Proven(small, "cpu", precision, loss=loss)


def _faster(model: onnx.ModelProto, floats: onnx.ModelProto, cases: Sequence[Case]) -> Iterator[Proven]:
    """Make what is faster on the CPU: by all rules, or by fewer where rounding then costs too much."""
    tried = None
    for rules in (RULES, DIRECT):
        faster, faster_floats = rewrite(model, rules), rewrite(floats, rules)
        if faster is None or faster_floats is None or faster == tried:
            return
        tried = faster
        try:
            yield Proven(faster, "cpu", "fp32", parity=parity.measure(faster_floats, faster, cases))
        except ParityError as error:
            logger.warning("a faster graph is left out: %s", error)
        else:
            return


class Half(nn.Module):
    """A generator that computes in half precision, between ends of float32."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = copy.deepcopy(generator).half()

    def forward(self, **inputs: Tensor) -> Tensor:
        """Give what the generator gives."""
        fed = {name: value.half() if value.is_floating_point() else value for name, value in inputs.items()}
        output: Tensor = self.generator(**fed)
        return output.float()
