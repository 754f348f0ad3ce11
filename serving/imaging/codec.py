"""The image codec: encoded images to pixels and back.

Every image is decoded here, with the same conversion: the EXIF orientation is applied, transparency is
composited over white, values of more than 8 bits are mapped to 0 to 255 (`serving.imaging.values`), 1 bit,
palettes, CMYK, YCbCr and Lab become grey or RGB, and only the first frame of an animation is read. Pixels are
uint8 arrays, HWC for one image and NHWC for several, with 1 channel (grey) or 3 (RGB).
"""

import functools
import io
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, JpegImagePlugin, PngImagePlugin, UnidentifiedImageError, WebPImagePlugin

from serving.arrays import Pixels
from serving.errors import APIError, is_out_of_memory
from serving.imaging.provenance import Provenance
from serving.imaging.structure import FORMATS, IHDR_END, bare, damaged
from serving.imaging.values import ValueRange, deep_image, is_deep, to_levels

PLUGINS = (PngImagePlugin, JpegImagePlugin, WebPImagePlugin)
"""Pillow's modules of the formats, loaded at once: one that it can't load when it is first used, for want of
memory, would stay missing."""

MAX_PIXELS = 4096 * 4096

PNG = {"compress_level": 1, "compress_type": zlib.Z_RLE}
"""Compression of PNGs: the fastest options that make no larger files (`benchmarks/encoders.md`)."""

MOST_SLENDER = 1000
"""Maximum ratio of an image's longer side to its shorter side."""

ORIENTATION = 0x0112
"""EXIF's tag of the orientation."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How images of each EXIF orientation are set upright."""


def decode(
    data: bytes,
    channels: int,
    formats: tuple[str, ...] = FORMATS,
    max_pixels: int = MAX_PIXELS,
    grid: tuple[int, int] = (1, 1),
    value_range: ValueRange | None = None,
) -> Pixels:
    """Decode one image to pixels of shape (H, W, channels).

    The size is read from the header and checked before anything is decoded.

    Args:
        data: the encoded image.
        channels: 1 for grey, 3 for RGB.
        formats: accepted formats, which are detected from the content.
        max_pixels: maximum number of pixels, after padding to the grid.
        grid: multiple and minimum of the sides after padding.
        value_range: values that become 0 and 255, for images with more than 8 bits per channel.

    Raises:
        APIError: `unsupported_image` (415), `image_too_large` (413) or `broken_image` (400).
    """
    reduced = bare(data)
    try:
        with Image.open(io.BytesIO(reduced.data if reduced else data), formats=formats) as image:
            _must_be_small(image, max_pixels, grid)
            return flatten(image, channels, value_range, reduced.orientation if reduced else None)
    except UnidentifiedImageError:
        accepted = ", ".join(formats)
        raise APIError(
            415, "unsupported_image", f"an image must have one of the formats {accepted}; got another one"
        ) from None
    except Image.DecompressionBombError:
        raise APIError(
            413, "image_too_large", f"an image must have at most {max_pixels} pixels; got more"
        ) from None
    except (APIError, MemoryError):
        raise
    except Exception as error:  # decoders may raise anything on damaged files
        if is_out_of_memory(error):
            raise MemoryError(str(error)) from error
        raise damaged() from None


def _must_be_small(image: Image.Image, max_pixels: int, grid: tuple[int, int]) -> None:
    """Check that an image does not take too much time or memory, before it is decoded.

    Raises:
        APIError: `image_too_large` (413).
    """
    width, height = image.size
    too_large = functools.partial(APIError, 413, "image_too_large")
    if _reach(width, *grid) * _reach(height, *grid) > max_pixels:
        raise too_large(f"an image must have at most {max_pixels} pixels after padding; got {width}x{height}")
    if max(width, height) > MOST_SLENDER * min(width, height):
        raise too_large(
            f"the longer side of an image must be at most {MOST_SLENDER} times the shorter side; "
            f"got {width}x{height}"
        )


def flatten(
    image: Image.Image,
    channels: int,
    value_range: ValueRange | None = None,
    orientation: int | None = None,
) -> Pixels:
    """Convert an image to pixels, as the module's docstring describes.

    Args:
        image: the image.
        channels: 1 for grey, 3 for RGB.
        value_range: values that become 0 and 255, for images with more than 8 bits per channel.
        orientation: EXIF orientation; by default, that of the image.

    Raises:
        APIError: `unsupported_image` (415), the image has values that need a value range.
    """
    flat = _shallow(image, value_range) if is_deep(image) else image
    flat.load()  # before the orientation is read, because Pillow applies that of TIFF files itself
    if orientation is None:
        orientation = image.getexif().get(ORIENTATION)
    if orientation in TURNS:
        flat = flat.transpose(TURNS[orientation])
    if flat.has_transparency_data:
        paper = Image.new("RGBA", flat.size, "white")
        flat = Image.alpha_composite(paper, flat.convert("RGBA"))
    if flat.mode == "LAB":  # which Pillow converts to nothing but RGB
        flat = flat.convert("RGB")
    mode = "L" if channels == 1 else "RGB"
    if flat.mode != mode:  # otherwise Pillow would copy it
        flat = flat.convert(mode)
    return np.asarray(flat, dtype=np.uint8).reshape(flat.height, flat.width, channels)


def _shallow(image: Image.Image, value_range: ValueRange | None) -> Image.Image:
    """Reduce an image to 8 bits per channel."""
    values, alpha = deep_image(image)
    levels = to_levels(values, value_range)
    reduced = Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)
    if alpha is not None:
        reduced.putalpha(Image.fromarray(alpha))
    return reduced


def pad(pixels: Pixels, multiple: int, least: int) -> Pixels:
    """Pad images (N, H, W, C) by reflection at their right and lower edges, to sides that a graph takes.

    Args:
        pixels: images of any size; crop a graph's output to the first H rows and W columns.
        multiple: the padded sides are multiples of this.
        least: minimum of the padded sides.
    """
    missing = [_reach(side, multiple, least) - side for side in pixels.shape[1:3]]
    if not any(missing):
        return pixels
    padded: Pixels = np.pad(pixels, ((0, 0), *((0, side) for side in missing), (0, 0)), mode="reflect")
    return padded


def _reach(side: int, multiple: int, least: int) -> int:
    """Return the length of a side after padding."""
    return max(least, -(-side // multiple) * multiple)


def encode_png(pixels: Pixels, provenance: Provenance | None = None) -> bytes:
    """Encode pixels (H, W, C) as a PNG, without loss."""
    data = _encode([pixels], "PNG", **PNG)
    if provenance is None:
        return data
    return provenance.signed(data[:IHDR_END] + provenance.to_png_chunk() + data[IHDR_END:], "image/png")


def encode_jpeg(pixels: Pixels, provenance: Provenance | None = None) -> bytes:
    """Encode pixels (H, W, C) as a JPEG of quality 90."""
    return _with_xmp([pixels], "JPEG", provenance, quality=90)


def encode_webp(pixels: Pixels, provenance: Provenance | None = None) -> bytes:
    """Encode pixels (H, W, C) as a WebP of quality 90, by the second fastest method."""
    return _with_xmp([pixels], "WEBP", provenance, quality=90, method=1)


ENCODERS = {"PNG": encode_png, "JPEG": encode_jpeg, "WEBP": encode_webp}


def encode_animation(
    frames: Sequence[Pixels], milliseconds: int, provenance: Provenance | None = None
) -> bytes:
    """Encode pixels (H, W, C) as the frames of a WebP animation that repeats for ever."""
    options = {"quality": 90, "method": 1, "save_all": True, "duration": milliseconds, "loop": 0}
    return _with_xmp(frames, "WEBP", provenance, **options)


def _encode(frames: Sequence[Pixels], kind: str, **options: Any) -> bytes:
    """Encode one image, or several as frames, with Pillow.

    Raises:
        MemoryError: there is not enough memory; the encoders report it in several ways.
    """
    out = io.BytesIO()
    first, *others = (
        Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels) for pixels in frames
    )
    try:
        first.save(out, kind, **options, **({"append_images": others} if others else {}))
    except (OSError, RuntimeError, SystemError, ValueError) as error:  # pixels of any content can be encoded
        raise MemoryError(f"the image can't be encoded: {error}") from error
    return out.getvalue()


def _with_xmp(frames: Sequence[Pixels], kind: str, provenance: Provenance | None, **options: Any) -> bytes:
    """Encode frames with what the file says of itself."""
    if provenance is None:
        return _encode(frames, kind, **options)
    return provenance.signed(
        _encode(frames, kind, xmp=provenance.to_xmp(), **options), f"image/{kind.lower()}"
    )
