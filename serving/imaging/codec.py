"""Bytes to pixels and back: the only place that touches an encoded image.

One conversion for every image that comes in: orientation from EXIF applied, transparency laid over white,
16 bits cut to 8 by dropping the low byte, CMYK and palettes to RGB, the first frame of an animation. Pixels
are uint8 arrays, HWC alone and NHWC together, with 1 channel (grey) or 3 (RGB).
"""

import functools
import io
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from serving.arrays import Pixels
from serving.errors import APIError

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 4096 * 4096

PNG = {"compress_level": 1, "compress_type": zlib.Z_RLE}
"""How PNGs are packed, since a request waits for it: what was fastest without being larger
(`benchmarks/encoders.md`)."""

MOST_SLENDER = 1000
"""How many times as long as wide an image may be."""

SCAN, MAX_SCANS = b"\xff\xda", 100
"""What begins a scan of a JPEG; each is a pass over the whole picture, and real ones have a dozen."""


def decode(
    data: bytes,
    channels: int,
    formats: tuple[str, ...] = FORMATS,
    max_pixels: int = MAX_PIXELS,
    grid: tuple[int, int] = (1, 1),
) -> Pixels:
    """Decode one image to pixels of shape (H, W, channels).

    The size is read from the header and checked before anything is decoded.

    Args:
        data: the encoded image.
        channels: 1 for grey, 3 for RGB.
        formats: that it may have, by its content.
        max_pixels: that it may have, once it is padded to the grid.
        grid: the multiple and the least of a side that it will be padded to.

    Raises:
        APIError: `unsupported_image` (415), `image_too_large` (413) or `broken_image` (400).
    """
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            _must_be_small(image, data, max_pixels, grid)
            return _flatten(image, channels)
    except UnidentifiedImageError:
        raise APIError(415, "unsupported_image", f"an image must be {', '.join(formats)}") from None
    except Image.DecompressionBombError:
        raise APIError(413, "image_too_large", f"an image may have {max_pixels} pixels") from None
    except (APIError, MemoryError):
        raise
    except Exception:  # decoders of damaged files raise whatever they stumble over
        raise APIError(400, "broken_image", "the image is damaged or cut short") from None


def _must_be_small(image: Image.Image, data: bytes, max_pixels: int, grid: tuple[int, int]) -> None:
    """Refuse what would take too long or too much room, before it is decoded."""
    width, height = image.size
    too_large = functools.partial(APIError, 413, "image_too_large")
    if _reach(width, *grid) * _reach(height, *grid) > max_pixels:
        raise too_large(f"an image may have {max_pixels} pixels; got {width}x{height}")
    if max(width, height) > MOST_SLENDER * min(width, height):
        raise too_large(f"an image may be {MOST_SLENDER} times as long as wide; got {width}x{height}")
    if image.format in ("JPEG", "MPO") and data.count(SCAN) > MAX_SCANS:
        raise APIError(400, "broken_image", f"a JPEG may have {MAX_SCANS} scans")


def _flatten(image: Image.Image, channels: int) -> Pixels:
    """Apply the one conversion of the module's docstring."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits of grey, in Pillow's 16- or 32-bit modes
        image = Image.fromarray((np.asarray(image, dtype=np.uint32) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    image = image.convert("L" if channels == 1 else "RGB")
    return np.asarray(image, dtype=np.uint8).reshape(image.height, image.width, channels)


def pad(pixels: Pixels, multiple: int, least: int) -> Pixels:
    """Mirror images (N, H, W, C) at their right and lower edges until their sides are what a graph takes.

    Args:
        pixels: of any size; what is wanted of a result is its first H rows and W columns.
        multiple: of which the sides must be multiples.
        least: below which they must not be.
    """
    missing = [_reach(side, multiple, least) - side for side in pixels.shape[1:3]]
    padded: Pixels = np.pad(pixels, ((0, 0), *((0, side) for side in missing), (0, 0)), mode="reflect")
    return padded


def _reach(side: int, multiple: int, least: int) -> int:
    """Give what a side is padded to."""
    return max(least, -(-side // multiple) * multiple)


def encode_png(pixels: Pixels) -> bytes:
    """Encode pixels (H, W, C) losslessly, as PNG says."""
    return _encode([pixels], "PNG", **PNG)


def encode_jpeg(pixels: Pixels) -> bytes:
    """Encode pixels (H, W, C) at a quality of 90."""
    return _encode([pixels], "JPEG", quality=90)


def encode_webp(pixels: Pixels) -> bytes:
    """Encode pixels (H, W, C) at a quality of 90, by the second fastest method."""
    return _encode([pixels], "WEBP", quality=90, method=1)


def encode_animation(frames: Sequence[Pixels], milliseconds: int) -> bytes:
    """Encode pixels (H, W, C) as frames of a WebP that repeats for ever."""
    return _encode(frames, "WEBP", quality=90, method=1, save_all=True, duration=milliseconds, loop=0)


def _encode(frames: Sequence[Pixels], kind: str, **options: Any) -> bytes:
    """Let Pillow encode one image or, with the option `append_images`, several."""
    out = io.BytesIO()
    first, *others = (
        Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels) for pixels in frames
    )
    first.save(out, kind, **options, **({"append_images": others} if others else {}))
    return out.getvalue()
