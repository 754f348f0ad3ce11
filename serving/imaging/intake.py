"""Images given in Python, as pixels, and pixels as images: PIL images, arrays, and image files."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving.arrays import Array, Pixels
from serving.errors import APIError, UserError
from serving.imaging import codec, sheets
from serving.imaging.codec import flatten
from serving.imaging.files import read_image
from serving.imaging.provenance import Provenance
from serving.imaging.values import ValueRange
from serving.system.files import write_file

ImageLike = Image.Image | NDArray[np.uint8] | str | os.PathLike[str]
"""A PIL image, a uint8 array (H, W) or (H, W, C) with 1, 3 or 4 channels, or the path of an image file."""

Several = list[ImageLike] | tuple[ImageLike, ...]
"""Several images, which may have different sizes."""

SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""Formats of files to write, by their suffixes."""

CHANNELS = (1, 3, 4)
"""Channels of an array: grey, RGB, RGBA."""


def to_pixels(image: ImageLike, channels: int, value_range: ValueRange | None = None) -> Pixels:
    """Return an image as pixels (H, W, channels), converted as the codec converts encoded images.

    Args:
        image: the image.
        channels: 1 for grey, 3 for RGB.
        value_range: values that become 0 and 255, for images with more than 8 bits per channel.

    Raises:
        UserError: the image has another type, shape or range of values, or the file can't be decoded.
        OSError: the file can't be read.
    """
    match image:
        case str() | os.PathLike():
            return read_image(Path(image), channels, value_range)
        case Image.Image():
            try:
                return flatten(image, channels, value_range)
            except APIError as error:
                raise UserError(str(error)) from error
        case np.ndarray():
            return flatten(from_array(image), channels)
        case _:
            raise UserError(
                "an image must be a PIL image, a uint8 array or the path of an image file; "
                f"got {type(image).__name__}"
            )


def from_array(pixels: NDArray[Any]) -> Image.Image:
    """Return an array as a PIL image.

    Raises:
        UserError: the array is not uint8 (H, W) or (H, W, C) with 1, 3 or 4 channels.
    """
    shaped = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if pixels.dtype != np.uint8 or shaped.ndim != 3 or shaped.shape[2] not in CHANNELS or not shaped.size:
        raise UserError(
            "an image array must be uint8 (H, W) or (H, W, C) with 1, 3 or 4 channels, and not empty; "
            f"got {pixels.dtype} {pixels.shape}"
        )
    plane = shaped[:, :, 0] if shaped.shape[2] == 1 else shaped
    return Image.fromarray(np.ascontiguousarray(plane))


def save(
    path: str | os.PathLike[str], output: Array, provenance: Provenance | None = None, columns: int = 0
) -> None:
    """Write images or vectors, drawn as by `to_pil`, as a PNG, JPEG or WebP that says where it comes from.

    Args:
        path: destination, whose suffix names the format.
        output: as for `to_pil`.
        provenance: what the file says of itself: that of the model, with the request:
            `model.provenance.of(seed=7, n=16)`.
        columns: as for `to_pil`.

    Raises:
        UserError: the suffix is another one, or the array has another type or shape.
        OSError: the file can't be written.
    """
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise UserError(f"the suffix of an image must be {', '.join(SUFFIXES)}; got {target.name}")
    encode = codec.ENCODERS[SUFFIXES[target.suffix.lower()]]
    pixels = np.asarray(to_pil(output, columns))
    write_file(target, encode(pixels[..., None] if pixels.ndim == 2 else pixels, provenance))


def to_pil(output: Array, columns: int = 0) -> Image.Image:
    """Return one image, a sheet of several, or a scatter plot of vectors, as a PIL image.

    Args:
        output: uint8 images (H, W, C) or (N, H, W, C), or float32 vectors (N, D).
        columns: columns of a sheet; 0 makes it as square as possible.

    Raises:
        UserError: the array has another type or shape.
    """
    if output.ndim == 3:
        return from_array(output)
    if output.ndim not in (2, 4) or not output.size:
        raise UserError(
            "the array must be images (H, W, C) or (N, H, W, C), or vectors (N, D), and not empty; "
            f"got {output.dtype} {output.shape}"
        )
    return from_array(sheets.picture(output, columns=columns))


def must_be_batch(pixels: Array, channels: int) -> Pixels:
    """Check an array of images, and return it.

    Raises:
        UserError: it is not uint8 (N, H, W, channels), or empty.
    """
    if pixels.dtype != np.uint8 or pixels.shape[3] != channels or not pixels.size:
        raise UserError(
            f"a batch of images must be uint8 (N, H, W, {channels}) and not empty; "
            f"got {pixels.dtype} {pixels.shape}"
        )
    return pixels
