"""Between a generator's images, float NCHW in [-1, 1], and its graph's, uint8 NHWC."""

from collections.abc import Mapping

import torch
from torch import Tensor

from serving.arrays import Array


def as_served(value: Tensor) -> Array:
    """Take what a generator is fed, or gives, to what its graph would be or give; what is no image stays."""
    served: Array = (to_pixels(value) if value.ndim == 4 else value).cpu().numpy()
    return served


def all_as_served(fed: Mapping[str, Tensor]) -> dict[str, Array]:
    """Take all inputs of a generator to what its graph would be fed."""
    return {name: as_served(value) for name, value in fed.items()}


def as_fed(value: Tensor) -> Tensor:
    """Take a graph's input to what its generator is fed; what is no image stays."""
    return from_pixels(value) if value.dtype == torch.uint8 else value


def to_pixels(images: Tensor) -> Tensor:
    """Take float NCHW in [-1, 1] to uint8 NHWC, rounding half to even, as every graph of images ends."""
    scaled = (images.float() + 1) * 127.5
    return scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def from_pixels(pixels: Tensor) -> Tensor:
    """Take uint8 NHWC to float32 NCHW in [-1, 1], as every graph that is fed images begins."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
