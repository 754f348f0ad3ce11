"""Conversion between a generator's images, float NCHW in [-1, 1], and its graph's, uint8 NHWC."""

from collections.abc import Mapping

import torch
from torch import Tensor

from serving.arrays import Array


def as_served(value: Tensor) -> Array:
    """Convert a generator's input or output to its graph's format; only images change."""
    served: Array = (to_pixels(value) if value.ndim == 4 else value).cpu().numpy()
    return served


def all_as_served(fed: Mapping[str, Tensor]) -> dict[str, Array]:
    """Convert all inputs of a generator to its graph's format."""
    return {name: as_served(value) for name, value in fed.items()}


def as_fed(value: Tensor) -> Tensor:
    """Convert a graph's input to its generator's format; only images change."""
    return from_pixels(value) if value.dtype == torch.uint8 else value


def to_pixels(images: Tensor) -> Tensor:
    """Convert float NCHW in [-1, 1] to uint8 NHWC, rounding half to even; image graphs end with this."""
    scaled = (images.float() + 1) * 127.5
    return scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def from_pixels(pixels: Tensor) -> Tensor:
    """Convert uint8 NHWC to float32 NCHW in [-1, 1]; graphs with image input begin with this."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
