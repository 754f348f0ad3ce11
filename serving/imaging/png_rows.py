"""PNG files of images that are too large to be held: rows are compressed as they come.

Pillow copies an image before it encodes it, at four bytes per pixel.
"""

import io
import itertools
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np

from serving.arrays import Pixels
from serving.imaging.codec import encode_png
from serving.imaging.provenance import Provenance
from serving.imaging.structure import PNG_HEAD

COLOURS = {1: 0, 3: 2}
"""PNG's colour types, by the number of channels."""

UP = 2
"""PNG's filter of differences from the row above."""


def write_png(
    file: BinaryIO,
    blocks: Iterator[Pixels],
    shape: tuple[int, int, int],
    provenance: Provenance | None = None,
) -> None:
    """Write an image as a PNG of 8 bits per channel; one that comes in one block, as the codec encodes it.

    Args:
        file: destination.
        blocks: the image's rows from top to bottom, as pixels (R, W, C).
        shape: height, width and channels of the whole.
        provenance: what the image says of itself.
    """
    first = next(blocks)
    if first.shape == shape:
        file.write(encode_png(first, provenance))
        return
    if provenance and provenance.maker.credentials:
        whole = io.BytesIO()
        _write_rows(whole, itertools.chain([first], blocks), shape, provenance)
        file.write(provenance.signed(whole.getvalue(), "image/png"))
        return
    _write_rows(file, itertools.chain([first], blocks), shape, provenance)


def _write_rows(
    file: BinaryIO,
    blocks: Iterable[Pixels],
    shape: tuple[int, int, int],
    provenance: Provenance | None,
) -> None:
    """Write the rows as they come."""
    height, width, channels = shape
    file.write(PNG_HEAD)
    _write_chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, COLOURS[channels], 0, 0, 0))
    if provenance:
        file.write(provenance.to_png_chunk())
    compressor = zlib.compressobj(1)
    above = np.zeros((1, width * channels), np.uint8)
    for block in blocks:
        lines = block.reshape(len(block), -1)
        filtered = np.empty((len(lines), lines.shape[1] + 1), np.uint8)
        filtered[:, 0] = UP
        filtered[:, 1:] = lines - np.concatenate([above, lines[:-1]])  # modulo 256
        above = lines[-1:].copy()
        _write_chunk(file, b"IDAT", compressor.compress(filtered.data))
    _write_chunk(file, b"IDAT", compressor.flush())
    _write_chunk(file, b"IEND", b"")


def _write_chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
