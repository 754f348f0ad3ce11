"""Values of images with more than 8 bits per channel, and how they become levels from 0 to 255.

By default, integers from 0 to 65535 become 0 to 255, and floats from 0 to 255 are rounded. Other values have
no level without a value range.
"""

import io
import math
import sys
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving.arrays import Pixels
from serving.errors import APIError, UserError

ValueRange = tuple[float, float]
"""The values that become 0 and 255. Those between are mapped linearly, and those outside are clipped."""

MOST_INTEGER, MOST_FLOAT = 65535, 255

BLOCK = 2**20
"""Number of values that are mapped at once."""

SAMPLE_FORMAT, SIGNED = 339, 2
"""TIFF's tag of the type of the values, and its value for signed integers."""


class DeepImage(NamedTuple):
    """An image with more than 8 bits per channel."""

    values: NDArray[Any]
    """(H, W, C) with 1 or 3 channels, of any type of numbers."""

    alpha: Pixels | None
    """Opacity, (H, W); None if all pixels are opaque."""


def is_deep(image: Image.Image) -> bool:
    """Return whether an image that is not loaded yet has values that 8 bits can't hold."""
    return image.mode == "F" or image.mode.startswith("I") or _has_two_bytes(image) or _is_signed(image)


def deep_image(image: Image.Image) -> DeepImage:
    """Load the values of an image that is deep.

    Raises:
        APIError: `unsupported_image` (415), a value is not a finite number.
    """
    unsigned = raw_mode(image) == "I;32N"
    deep = _of_two_bytes(image) if _has_two_bytes(image) else DeepImage(np.asarray(image)[..., None], None)
    if _is_signed(image):
        deep = deep._replace(values=deep.values.view(np.int8))
    if unsigned:  # Pillow reads them as signed integers, with the same bits
        deep = deep._replace(values=deep.values.view(np.uint32))
    if deep.values.dtype.kind == "f" and not np.isfinite(deep.values).all():
        raise APIError(415, "unsupported_image", "an image's values must be finite; got NaN or infinite ones")
    clear = image.info.get("transparency")
    if clear is not None and not isinstance(clear, bytes):
        opaque = (deep.values != np.asarray(clear)).any(2)
        deep = deep._replace(alpha=opaque.astype(np.uint8) * 255)
    return deep


def to_levels(values: NDArray[Any], value_range: ValueRange | None) -> Pixels:
    """Map values to uint8 levels of the same shape.

    Args:
        values: finite numbers.
        value_range: the values that become 0 and 255; by default, those of the module's docstring.

    Raises:
        APIError: `unsupported_image` (415), the values have no levels without a value range.
    """
    least, most = float(values.min()), float(values.max())
    found = value_range or default_range(values.dtype, least, most)
    if found is None:
        text = (
            f"an image's values must be integers from 0 to {MOST_INTEGER}, or floats from 0 to {MOST_FLOAT} "
            f"that exceed 1, unless a value range is set; got {least:g} to {most:g}"
        )
        raise APIError(415, "unsupported_image", text)
    low, high = found
    levels = np.empty(values.shape, np.uint8)
    rows = max(1, BLOCK * len(values) // max(values.size, 1))
    for row in range(0, len(values), rows):  # in blocks, because float64 takes eight times the memory
        block = (values[row : row + rows].astype(np.float64) - low) * (255 / (high - low))
        levels[row : row + rows] = np.rint(block).clip(0, 255)
    return levels


def default_range(kind: np.dtype[Any], least: float, most: float) -> ValueRange | None:
    """Return the values that become 0 and 255 if no value range is set; None if there is no safe rule."""
    if kind.kind == "f":
        return (0, MOST_FLOAT) if least >= 0 and (most == 0 or 1 < most <= MOST_FLOAT) else None
    limit = MOST_FLOAT if kind.itemsize == 1 else MOST_INTEGER
    return (0, limit) if least >= 0 and most <= limit else None


def must_be_a_range(given: ValueRange) -> None:
    """Check that a value range consists of two ascending numbers.

    Raises:
        UserError: it does not.
    """
    low, high = given
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"value_range must be two finite numbers, the lower one first; got {low} {high}")


def raw_mode(image: Image.Image) -> str:
    """Return Pillow's name of the layout of a file's values; empty if the image is loaded."""
    tiles = getattr(image, "tile", None)
    args = tiles[0][3] if tiles else ""
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _has_two_bytes(image: Image.Image) -> bool:
    """Return whether the image has 16 bits per channel, of which Pillow would drop 8."""
    return image.mode in ("RGB", "RGBA") and ";16" in raw_mode(image)


def _is_signed(image: Image.Image) -> bool:
    """Return whether the image has signed 8 bits, which Pillow would read as unsigned ones."""
    tags = getattr(image, "tag_v2", None) or {}
    return image.mode == "L" and tags.get(SAMPLE_FORMAT) == (SIGNED,)


def _of_two_bytes(image: Any) -> DeepImage:
    """Load 16 bits per channel: the higher bytes, and in the other byte order the lower ones."""
    raw = raw_mode(image)
    place = image.fp.tell()
    image.fp.seek(0)
    again: Any = Image.open(io.BytesIO(image.fp.read()), formats=[image.format])
    image.fp.seek(place)
    kind, _, order = raw.partition(";16")
    if kind == "LA":  # four bytes, of which Pillow knows no other order
        _set_raw_mode(again, "RGBA")
        high, low, alpha, _ = np.moveaxis(np.asarray(again), 2, 0).astype(np.uint16)
        return DeepImage((high * 256 + low)[..., None], alpha.astype(np.uint8))
    little = order == "L" or (order == "N" and sys.byteorder == "little")
    _set_raw_mode(again, f"{kind};16{'B' if little else 'L'}")
    values = np.asarray(image).astype(np.uint16) * 256 + np.asarray(again).astype(np.uint16)
    return DeepImage(values[..., :3], np.asarray(image)[..., 3] if image.mode == "RGBA" else None)


def _set_raw_mode(image: Any, raw: str) -> None:
    image.tile = [
        (*tile[:3], (raw, *tile[3][1:]) if isinstance(tile[3], tuple) else raw) for tile in image.tile
    ]
