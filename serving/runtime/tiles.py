"""Translation of images of any size in bounded memory, tile by tile.

A tile is translated with a margin of its neighbours. If the margin is as wide as the graph's reach, the tiles
together are the translation of the whole image. The instance normalisations of all tiles have the same
statistics, which are measured on a reduced image. If the reach is too wide, neighbouring tiles are blended.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from serving.arrays import Array, Pixels
from serving.errors import UserError
from serving.imaging import codec
from serving.runtime.onnx_file.statistics import split
from serving.runtime.tensor import Tensor
from serving.system.progress import progress

WHOLE = 2**20
"""Pixels of the largest translation that is made at once; with a ResNet of width 64, it takes 1.2 GiB."""

SIDE = 672
"""Height and width in pixels of a translated tile with its margins, by default."""

Open = Callable[[bytes], Any]
"""A function that opens a session of an ONNX file."""


@dataclass(frozen=True)
class Tiling:
    """Sizes of the tiles of a graph, in pixels of its input."""

    side: int
    """Height and width of a tile with its margins."""

    margin: int
    """Width of the margin on each side."""

    blend: int
    """Distance from the edge of a tile, on each side, over which it is blended with its neighbour; 0 if the
    tiles agree."""

    multiple: int
    """Number that divides the places of all edges."""

    least: int
    """Minimum of the sides of an image."""

    scale: int
    """Height and width of a translation, in multiples of those of its source."""

    @classmethod
    def of(cls, image: Tensor, scale: int, side: int = 0) -> "Tiling":
        """Return the tiling of a graph.

        Args:
            image: the graph's input.
            scale: height and width of a translation, in multiples of those of its source.
            side: height and width of a tile with its margins; 0 chooses them.

        Raises:
            UserError: the tile is too small, or the graph can't be tiled.
        """
        multiple, least = image.grid
        if image.reach is None:
            raise UserError(
                "to be run in tiles, a graph must see a known part of an image; got one that sees all of it, "
                "or that an older version exported"
            )
        smallest = max(4 * multiple, 2 * least)
        if side and side < smallest:
            raise UserError(f"tile must be at least {smallest} for this model; got {side}")
        side = (side or max(SIDE // scale, smallest)) // multiple * multiple
        reach = -(-image.reach // multiple) * multiple
        if 4 * reach <= side:
            return cls(side, reach, 0, multiple, least, scale)
        margin = -(-side // 8 // multiple) * multiple
        return cls(side, margin, margin // 2, multiple, least, scale)

    def spans(self, length: int) -> list[tuple[int, int]]:
        """Return the tiles along an axis, without their margins: first pixel, and the one after the last."""
        units = -(-length // self.multiple)
        count = -(-length // (self.side - 2 * self.margin))
        edges = [index * units // count * self.multiple for index in range(count)]
        return list(zip(edges, [*edges[1:], length], strict=True))

    def windows(self, length: int) -> list["Window"]:
        """Return the tiles along an axis.

        All windows have one length, so that the memory of one can be that of the next.
        """
        spans = self.spans(length)
        bounds = [(max(0, first - self.margin), min(length, last + self.margin)) for first, last in spans]
        side = max(last - first for first, last in bounds)
        return [
            self._window(span, min(first, length - side), side, length)
            for span, (first, _) in zip(spans, bounds, strict=True)
        ]

    def _window(self, span: tuple[int, int], start: int, side: int, length: int) -> "Window":
        before = span[0] - (self.blend if span[0] > 0 else 0)
        after = span[1] + (self.blend if span[1] < length else 0)
        kept = slice((before - start) * self.scale, (after - start) * self.scale)
        return Window(slice(start, start + side), kept)


class Window(NamedTuple):
    """A tile along one axis."""

    given: slice
    """The part of the image that is translated: the tile with its margins."""

    kept: slice
    """The part of its translation that is used: the tile, and where it is blended."""


class Rows(NamedTuple):
    """The translation of an image, made while it is read."""

    shape: tuple[int, int, int]
    """Height, width and channels of the whole."""

    blocks: Iterator[Pixels]
    """The rows from top to bottom, in blocks (R, width, channels)."""

    @classmethod
    def of(cls, image: Pixels) -> "Rows":
        """Return the rows of an image that is there, as one block."""
        height, width, channels = image.shape
        return cls((height, width, channels), iter([image]))

    def gathered(self) -> Pixels:
        """Return all rows as one image."""
        image, done = np.empty(self.shape, np.uint8), 0
        for block in self.blocks:
            image[done : done + len(block)] = block
            done += len(block)
        return image

    def with_progress(self, label: str) -> "Rows":
        """Return the same rows, with progress on standard error while they are made."""

        def blocks() -> Iterator[Pixels]:
            with progress(self.shape[0], label, "rows") as advance:
                for block in self.blocks:
                    yield block
                    advance(len(block))

        return Rows(self.shape, blocks())

    def cropped(self, height: int, width: int) -> "Rows":
        """Return the first rows and columns."""

        def blocks() -> Iterator[Pixels]:
            left = height
            for block in self.blocks:
                yield block[:left, :width]
                left -= len(block)

        return Rows((height, width, self.shape[2]), blocks())


def is_large(image: Tensor, scale: int, height: int, width: int) -> bool:
    """Return whether an image is translated in tiles: its translation is large, and the graph allows it."""
    return image.reach is not None and height * width * scale**2 > WHOLE


def rows(model: bytes, open_session: Open, pixels: Pixels, tiling: Tiling) -> Iterator[Pixels]:
    """Yield the translation of an image from top to bottom, in blocks of full width.

    The sessions are open as long as the iterator.

    Args:
        model: the graph's ONNX file.
        open_session: function that opens a session.
        pixels: image (H, W, C) whose sides are multiples of the tiling's.
        tiling: sizes of the tiles.
    """
    pair = split(model)
    statistics = _measured(open_session(pair.measuring), pixels, tiling) if pair else {}
    session = open_session(pair.applying if pair else model)
    columns = tiling.windows(pixels.shape[1])

    def tile(row: Window, column: Window) -> Pixels:
        given = np.ascontiguousarray(pixels[row.given, column.given][None])
        output: Pixels = session.run(None, {"image": given} | statistics)[0][0]
        return output[row.kept, column.kept]

    def across(row: Window) -> Pixels:
        parts = (np.swapaxes(tile(row, column), 0, 1) for column in columns)
        return np.swapaxes(np.concatenate(list(_blended(parts, tiling))), 0, 1)

    yield from _blended(map(across, tiling.windows(pixels.shape[0])), tiling)


def _measured(session: Any, pixels: Pixels, tiling: Tiling) -> dict[str, Array]:
    """Measure the factors and offsets of the instance normalisations on the reduced image."""
    reduced = codec.pad(shrunk(pixels, tiling.side, tiling.least)[None], tiling.multiple, tiling.least)
    names = [output.name for output in session.get_outputs()[1:]]
    return dict(zip(names, session.run(names, {"image": reduced}), strict=True))


def shrunk(pixels: Pixels, side: int, least: int = 1) -> Pixels:
    """Return an image (H, W, C), reduced by means of square blocks until no side is longer than `side`.

    It is reduced less if a side would become shorter than `least`.
    """
    shorter, longer = sorted(pixels.shape[:2])
    factor = max(1, min(math.ceil(longer / side), shorter // least))
    height, width = (length // factor for length in pixels.shape[:2])
    rows = (
        pixels[factor * row : factor * (row + 1), : factor * width].reshape(factor, width, factor, -1)
        for row in range(height)
    )
    means = np.stack([row.mean((0, 2), dtype=np.float32) for row in rows])
    reduced: Pixels = np.rint(means).astype(np.uint8)
    return reduced


def _blended(parts: Iterable[Pixels], tiling: Tiling) -> Iterator[Pixels]:
    """Yield arrays that overlap along their first axis, blended there: what is certain of each, in order."""
    overlap = 2 * tiling.blend * tiling.scale
    weights = ((np.arange(overlap, dtype=np.float32) + 1) / (overlap + 1)).reshape(-1, 1, 1)
    last: Pixels | None = None
    for part in parts:
        if last is not None and overlap:
            mixed = last + (part[:overlap].astype(np.float32) - last) * weights
            part = np.concatenate([np.rint(mixed).astype(np.uint8), part[overlap:]])
        kept = len(part) - overlap
        yield part[:kept]
        last = part[kept:]
    if last is not None and overlap:
        yield last
