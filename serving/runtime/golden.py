"""Golden examples: inputs of a graph with PyTorch's outputs, and how far the graph's outputs may differ."""

import math
from typing import NamedTuple

import numpy as np
import safetensors.numpy

from serving.arrays import Array
from serving.errors import UserError
from serving.runtime.manifest import Loss, Precision

EXPECTED = "expected"
"""Name of the expected output in the file of a golden example; the other arrays are inputs."""

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


def read_golden(data: bytes) -> Case:
    """Parse the file of a golden example.

    Raises:
        ParityError: PyTorch's own output is not finite.
        SafetensorError: the file is damaged.
        KeyError: the file holds no expected output.
    """
    arrays = safetensors.numpy.load(data)
    case = Case(arrays, arrays.pop(EXPECTED))
    if not np.isfinite(case.expected).all():
        raise ParityError("the expected output must be finite; got NaN or infinity; export the run again")
    return case


def max_abs_error(graph: bytes) -> float:
    """Return the bound on the absolute error of a graph, given its file."""
    return MAX_NORMALISED_ERROR if b"InstanceNormalization" in graph else MAX_ABS_ERROR


def float_error(output: Array, case: Case, bound: float) -> float:
    """Return the maximum absolute difference from the generator's float output.

    Raises:
        ParityError: the difference exceeds the bound.
    """
    worst = float(np.abs(output - case.expected).max())
    if not worst <= bound:
        raise ParityError(
            f"the difference from PyTorch must be at most {bound:.0e}; got {worst:.2g} for {case}"
        )
    return worst


def level_error(output: Array, case: Case) -> int:
    """Return the maximum difference of uint8 pixels, NHWC, from the generator's, in levels.

    Raises:
        ParityError: the difference exceeds one level.
    """
    worst = int(np.abs(case.pixels - output).max())
    if worst > MAX_LEVEL_ERROR:
        raise ParityError(
            f"the difference from PyTorch must be at most {MAX_LEVEL_ERROR} of 255 levels; "
            f"got {worst} levels for {case}"
        )
    return worst


def must_be_near(loss: Loss, precision: Precision) -> None:
    """Check that the PSNR of a smaller type reaches its bound.

    Raises:
        ParityError: the PSNR is below the bound.
    """
    if not loss.psnr >= MIN_PSNR[precision]:
        raise ParityError(
            f"the PSNR of {precision} to the fp32 graph must be at least {MIN_PSNR[precision]:.0f} dB; "
            f"got {loss.psnr:.1f} dB over {loss.samples} outputs, at worst {loss.max_level_error} levels"
        )


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
            "an image must be the same in every batch; "
            f"image {differing[0]} differs between a batch of {len(output)} and one of {len(whole)}"
        )
