"""A look at all image files of a run's data: headers, and the values of images with more than 8 bits."""

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving.errors import UserError
from serving.imaging.codec import ORIENTATION
from serving.imaging.files import FOLDER_FORMATS
from serving.imaging.values import MOST_INTEGER, ValueRange, deep_image, default_range, is_deep, raw_mode
from serving.system.cpu import cores
from serving.system.progress import progress
from training.data.files.image_source import ImageSource
from training.data.files.splits import Part
from training.data.loader import local_world_size, map_in_order
from training.data.transforms import largest

HEAD = 2**16
"""Bytes that the header of an image is looked for in, before the whole file is read."""

SAMPLED, LEAST_SAMPLED = 2**24, 64
"""Maximum number of values that percentiles are taken from, and the minimum of each image's."""

PERCENTILES = (0.1, 99.9)
"""Percentiles of the values that become 0 and 255."""

GREY = {"1", "L", "LA", "La", "F"}
"""Pillow's modes of grey images, beside those of integers, which begin with I."""

MOST_LOST = 0.2
"""Maximum share of an image's area that a crop may lose without a warning."""


class Values(NamedTuple):
    """Values of an image with more than 8 bits per channel."""

    kind: np.dtype[Any]
    least: float
    most: float
    some: NDArray[Any]
    """Some of them, drawn at random, or all."""


class Seen(NamedTuple):
    """What one image file is."""

    size: tuple[int, int]
    """Width and height of an image in the file."""

    mode: str
    """Pillow's mode."""

    is_grey: bool
    """Whether the mode, or the palette, is one of greys."""

    values: Values | None
    """Values, if there are more than 8 bits per channel."""


class Survey:
    """Sizes, modes and values of image files."""

    def __init__(self) -> None:
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.modes: Counter[str] = Counter()
        self.channels = 1
        """1 if all files are grey, else 3."""

        self.values: list[Values] = []

    def add(self, seen: Seen) -> None:
        """Add an image file."""
        self.sizes[seen.size] += 1
        self.modes[seen.mode] += 1
        self.channels = self.channels if seen.is_grey else 3
        if seen.values is not None:
            self.values.append(seen.values)

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the greatest value."""
        return min(each.least for each in self.values), max(each.most for each in self.values)

    def sampled(self) -> NDArray[Any]:
        """Return values drawn from all images."""
        return np.concatenate([each.some for each in self.values])

    def problem(self) -> str | None:
        """Return why the values can't be mapped to 0 to 255 without a value range; None if they can."""
        if not self.values:
            return None
        low, high = self.ends
        whole = all(each.kind.kind != "f" for each in self.values)
        wide = whole and all(each.kind.itemsize > 1 for each in self.values)
        if any(default_range(each.kind, each.least, each.most) is None for each in self.values):
            reason = (
                f"integers must be from 0 to {MOST_INTEGER}"
                if whole
                else "floats must be from 0 to 255 and exceed 1"
            )
        elif wide and high - low < (MOST_INTEGER + 1) / 4:
            reason = f"they are a small part of 0 to {MOST_INTEGER}, which become 0 to 255"
        else:
            return None
        named = f"--value-range {' '.join(f'{end:.10g}' for end in _usual_range(low, high, whole))}"
        return (
            f"the values of {len(self.values)} images with more than 8 bits go from {low:.10g} to "
            f"{high:.10g}, but {reason}; use {named}, or --value-range percentile"
        )

    def value_range(self, asked: ValueRange | Literal["percentile"] | None, name: str) -> ValueRange | None:
        """Return the values that become 0 and 255.

        Args:
            asked: the value range, or how it is found; None for the default rule.
            name: name of the data, for messages.

        Raises:
            UserError: the values can't be mapped by the default rule, or no image has more than 8 bits.
        """
        if asked is None:
            if problem := self.problem():
                raise UserError(f"{name}: {problem}")
            return None
        if not self.values:
            raise UserError(f"--value-range needs images with more than 8 bits per channel; {name} has none")
        if asked != "percentile":
            return asked
        low, high = (float(end) for end in np.percentile(self.sampled(), PERCENTILES))
        if low == high:
            raise UserError(
                f"--value-range percentile needs values that differ; nearly all values of {name} are {low:g}"
            )
        return low, high

    def clipped(self, value_range: ValueRange) -> str:
        """Return a text about the mapping: the values found, and the share of those that are clipped."""
        (low, high), some = value_range, self.sampled()
        share = float(((some < low) | (some > high)).mean())
        least, most = self.ends
        return (
            f"values from {low:.10g} to {high:.10g} become 0 to 255; the data have {least:.10g} to "
            f"{most:.10g}, of which {share:.2%} are clipped"
        )

    def lost(self, height: int, width: int) -> Iterator[str]:
        """Yield a warning if crops with an aspect ratio lose much of some images."""
        shares = [
            share for size in self.sizes.elements() if (share := _lost(*size, height, width)) > MOST_LOST
        ]
        if shares:
            yield (
                f"cropping to {width}x{height} loses {sum(shares) / len(shares):.0%} of the area of "
                f"{len(shares)} of {self.sizes.total()} images; use --fit pad or --fit squash to keep it"
            )


def _lost(width: int, height: int, target_height: int, target_width: int) -> float:
    rows, columns = largest(target_height, target_width, height, width)
    return 1 - rows * columns / (height * width)


def _usual_range(low: float, high: float, whole: bool) -> tuple[float, float]:
    """Return a value range for values that were found: of so many bits, to 1 or 255, or themselves."""
    if low < 0:
        return low, high
    if whole:
        return 0, max(2 ** int(high).bit_length() - 1, 1)
    return 0, next((usual for usual in (1, 255) if high <= usual), high)


def survey(source: ImageSource, parts: Iterable[Part], abreast: int = 1) -> Survey:
    """Look at the images of some parts; those that can't be read are left to those who read them."""
    found = Survey()
    files = [name for part in parts for name in part.images]
    most = max(LEAST_SAMPLED, SAMPLED // max(1, len(files)))
    look_at = partial(_try, source, files, abreast, most)
    with progress(len(files), "looking at the headers", "images") as advance:
        for seen in map_in_order(look_at, range(len(files)), cores() // local_world_size()):
            if seen is not None:
                found.add(seen)
            advance()
    return found


def _try(source: ImageSource, files: Sequence[str], abreast: int, most: int, number: int) -> Seen | None:
    try:
        return look(source, files[number], abreast, most)
    except (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError):
        return None


def look(source: ImageSource, name: str, abreast: int = 1, most: int = LEAST_SAMPLED) -> Seen:
    """Read an image's header, and its values if there are more than 8 bits per channel.

    Args:
        source: the source of the image.
        name: name of the image.
        abreast: number of images of equal width, side by side, in a file.
        most: maximum number of values to draw.

    Raises:
        UserError, OSError, ValueError, SyntaxError: it can't be read.
    """
    try:
        seen, deep = _header(source.read(name, HEAD), abreast)
    except (OSError, ValueError, SyntaxError):  # the header may be longer, or be at the end
        seen, deep = _header(source.read(name), abreast)
    if not deep:
        return seen
    with _open(source.read(name)) as image:
        values = deep_image(image).values.reshape(-1)
    some = values
    if len(values) > most:
        some = values[np.random.default_rng(len(values)).integers(0, len(values), most)]
    return seen._replace(values=Values(values.dtype, float(values.min()), float(values.max()), some))


def _header(data: bytes, abreast: int) -> tuple[Seen, bool]:
    """Read an image's header, and return also whether it has more than 8 bits per channel."""
    with _open(data) as image:
        width, height = image.size
        if "exif" in image.info and image.getexif().get(ORIENTATION, 1) > 4:
            width, height = height, width
        return Seen((width // abreast, height), image.mode, _is_grey(image), None), is_deep(image)


def _is_grey(image: Image.Image) -> bool:
    if image.mode == "P" and image.palette is not None:
        kind, data = image.palette.getdata()
        colours = np.frombuffer(data, np.uint8)
        table = colours[: len(colours) // len(kind) * len(kind)].reshape(-1, len(kind))[:, :3]
        return bool((table == table[:, :1]).all())
    return image.mode in GREY or image.mode.startswith("I") or raw_mode(image) == "LA;16B"


def _open(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=FOLDER_FORMATS)
