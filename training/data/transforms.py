"""Transforms of examples: normalisation, shape checks, cropping and resizing."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from serving.errors import UserError
from serving.imaging.values import ValueRange
from zoo.entry import DomainShapes, SampleShape

Fit = Literal["crop", "pad", "squash"]
"""How images of another aspect ratio are fitted to a shape."""


class Conversion(NamedTuple):
    """How the images of files become examples."""

    fit: Fit = "crop"
    value_range: ValueRange | None = None
    """Values that become 0 and 255, for images with more than 8 bits per channel; None for the default."""


AS_USUAL = Conversion()


def normalise(real: Tensor) -> Tensor:
    """Map uint8 images in [0, 255] to float32 in [-1, 1]. Vectors are returned unchanged."""
    if real.dtype != torch.uint8:
        return real
    # Divide by a tensor. CUDA multiplies by the reciprocal of a scalar, so the result differs from the CPU's.
    return real.float().div_(torch.full((), 127.5, device=real.device)).sub_(1)


def image_shape(sample_shape: SampleShape) -> tuple[int, int, int]:
    """Return a sample shape as (channels, height, width), for images of 1 or 3 channels.

    Raises:
        UserError: the shape is not an image's, or has another number of channels.
    """
    _must_be_one(sample_shape)
    if len(sample_shape) != 3 or sample_shape[0] not in (1, 3):
        raise UserError(
            f"the data need an entry for images of 1 or 3 channels; got samples of {sample_shape}"
        )
    channels, height, width = sample_shape
    return channels, height, width


def vector_size(sample_shape: SampleShape, size: int) -> None:
    """Check that a sample shape is that of the dataset's vectors.

    Raises:
        UserError: the shape is an image's, or has another size.
    """
    _must_be_one(sample_shape)
    if sample_shape != (size,):
        raise UserError(
            f"the data need an entry for vectors of {size} numbers; got samples of {sample_shape}"
        )


def _must_be_one(sample_shape: SampleShape) -> None:
    if isinstance(sample_shape, DomainShapes):
        raise UserError(
            "translators need data of two domains; these are single examples; use data such as "
            "unpaired:PATH, paired:PATH or glyphs-style"
        )


def with_channels(images: Tensor, channels: int) -> Tensor:
    """Convert uint8 images (N, C, H, W) to 1 or 3 channels.

    Colour is converted to grey by the luma of ITU-R 601. Grey is repeated over the channels for colour.
    """
    if images.shape[1] == 3 and channels == 1:
        luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
        images = (images * luma).sum(1, keepdim=True).round().to(torch.uint8)
    return images.expand(-1, channels, -1, -1)


def fit(images: Tensor, shape: tuple[int, int, int], how: Fit = "crop") -> Tensor:
    """Fit uint8 images (N, C, H, W) to a shape (channels, height, width).

    Resizing is bicubic and antialiased. The channels are those of `with_channels`.

    Args:
        images: the images.
        shape: the shape.
        how: `crop` resizes the largest centred crop with the target aspect ratio. `pad` resizes the whole
            image and pads it with black, evenly on both sides. `squash` resizes the whole image to the target
            aspect ratio.
    """
    channels, height, width = shape
    images = with_channels(images, channels)
    rows, columns = images.shape[2:]
    match how:
        case "crop":
            inner_rows, inner_columns = largest(height, width, rows, columns)
            top, left = (rows - inner_rows) // 2, (columns - inner_columns) // 2
            images = images[:, :, top : top + inner_rows, left : left + inner_columns]
            return _resize(images, height, width)
        case "pad":
            inner_rows, inner_columns = largest(rows, columns, height, width)
            padded = images.new_zeros((len(images), channels, height, width))
            top, left = (height - inner_rows) // 2, (width - inner_columns) // 2
            place = padded[:, :, top : top + inner_rows, left : left + inner_columns]
            place.copy_(_resize(images, inner_rows, inner_columns))
            return padded
        case "squash":
            return _resize(images, height, width)


def largest(height: int, width: int, rows: int, columns: int) -> tuple[int, int]:
    """Return the rows and columns of the largest area of an aspect ratio, height to width, inside another.

    One side is the whole side of the other area; the other one is rounded down to pixels, to at least 1.
    """
    if rows * width <= columns * height:
        return rows, max(1, rows * width // height)
    return max(1, columns * height // width), columns


def _resize(images: Tensor, height: int, width: int) -> Tensor:
    if images.shape[2:] == (height, width):
        return images.contiguous()
    parts = [
        F.interpolate(part.float(), (height, width), mode="bicubic", antialias=True, align_corners=False)
        .round()
        .clamp(0, 255)
        .to(torch.uint8)
        for part in torch.split(images, 4096)
    ]
    return torch.cat(parts)
