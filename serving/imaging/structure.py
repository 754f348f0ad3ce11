"""The structure of encoded images: decoders are given only the parts that hold pixels, and only so many.

Decoders read a file part by part, and some parts cost much more than their bytes: metadata, empty segments,
bytes between segments, scans over the whole image. Of metadata, only the EXIF orientation is read, here.
"""

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from serving.errors import APIError

FORMATS = ("PNG", "JPEG", "WEBP")
"""Names of the formats that clients send and get."""

MAX_PARTS = 4096
"""Maximum number of a PNG's or WebP's chunks, or of a JPEG's segments."""

MAX_TABLES = 2**16
"""Maximum bytes of a JPEG's quantisation tables; ordinary files have a few hundred."""

RUN = b"\xff" * 2048
"""Fill bytes in a row that a scan must not have; decoders read such runs again and again."""

MAX_SCANS, MAX_SCANNED = 100, 2**26
"""Maximum number of a JPEG's scans, and of the pixels of all its scans together.

Each scan is a pass over the whole image. Ordinary files have about a dozen."""

MAX_ENTRIES = 256
"""Number of EXIF entries among which the orientation is looked for; it is one of the first."""

FILL = b"\xff"
WINDOW = 2**16
"""Bytes that are searched for a marker at once; NumPy lets other threads run meanwhile."""

SCAN, END, EXIF, TABLES, ALONE = 0xDA, 0xD9, 0xE1, 0xDB, 0x01
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of the segments that hold a JPEG's height and width."""

KEPT = FRAMES | {0xC4, 0xCC, TABLES, SCAN, 0xDD, 0xE0, 0xEE}
"""Markers of the segments that a decoder needs: frames, tables, scans, and what tells the colours."""

ALLOWED = KEPT | frozenset(range(0xE0, 0xF0)) | {0xDC, 0xFE}
"""Markers of the segments that an image may have."""

MARKERS = frozenset(range(1, 0xFF)) - frozenset(range(0xD0, 0xD9))
IS_MARKER = np.isin(np.arange(256), list(MARKERS))
"""Bytes that begin a segment or end a JPEG if they follow 0xFF."""

PNG_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
WEBP_CHUNKS = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"})
"""Names of the chunks that a decoder needs."""

PNG_HEAD, TIFF = b"\x89PNG\r\n\x1a\n", {b"II*\0": "<", b"MM\0*": ">"}
"""How a PNG begins; byte orders by how EXIF data begins."""

IHDR_END = len(PNG_HEAD) + 12 + 13
"""Where a PNG's first chunk ends, which has its size and mode."""


class Bare(NamedTuple):
    """An encoded image without metadata."""

    data: bytes
    orientation: int
    """Its EXIF orientation, from 1 to 8."""


Chunk = tuple[bytes, bytes]
"""The name of a chunk, and the whole chunk, which begins with 8 bytes of length and name."""


def bare(data: bytes) -> Bare | None:
    """Return a PNG, JPEG or WebP image without metadata; None for other formats.

    Reading it is not much more work than its pixels are.

    Raises:
        APIError: `broken_image` (400), the image has too many parts, or a part that no image has.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return _bare_jpeg(data)
    if data.startswith(PNG_HEAD):
        return _of_chunks(_png_chunks(data), PNG_CHUNKS, b"eXIf", lambda body: PNG_HEAD + body)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _of_chunks(_webp_chunks(data), WEBP_CHUNKS, b"EXIF", _riff)
    return None


def _bare_jpeg(data: bytes) -> Bare:
    kept, orientation = [data[:2]], 1
    segments = scans = pixels = tables = 0
    place = 2
    while (found := _find_marker(data, place)) < len(data):
        if scans:
            kept.append(_scan(data, place, found))
        marker, place, segments = data[found + 1], found + 2, segments + 1
        _must_be_few("segments", segments, MAX_PARTS)
        if marker == END:
            return Bare(b"".join([*kept, data[found:place]]), orientation)
        if marker == ALONE:
            continue
        if marker not in ALLOWED:
            raise damaged()
        end = place + max(int.from_bytes(data[place : place + 2]), 2)
        scans += marker == SCAN
        tables += (end - place) * (marker == TABLES)
        if marker in FRAMES and place + 7 <= len(data):
            height, width = struct.unpack_from(">HH", data, place + 3)
            pixels = max(pixels, height * width)
        _must_be_few("bytes of tables", tables, MAX_TABLES)
        _must_be_few("scans", scans, min(MAX_SCANS, MAX_SCANNED // max(pixels, 1)))
        if marker in KEPT:
            kept.append(data[found:end])
        elif marker == EXIF and orientation == 1:
            orientation = _orientation(data[place + 2 : end])
        place = end
    return Bare(b"".join([*kept, _scan(data, place, len(data))]), orientation)


def _scan(data: bytes, begin: int, end: int) -> bytes:
    """Return the part of a JPEG that is a scan's compressed pixels."""
    if any(data.startswith(RUN, place, end) for place in range(begin, end, len(RUN))):
        raise APIError(
            400, "broken_image", f"a scan must have fewer than {len(RUN)} fill bytes in a row; got more"
        )
    return data[begin:end]


def _find_marker(data: bytes, place: int) -> int:
    """Return where the next marker begins, the length of the data if there is none."""
    if data[place : place + 1] == FILL and place + 1 < len(data) and data[place + 1] in MARKERS:
        return place
    size = 64
    while place < len(data):
        part = np.frombuffer(data, np.uint8, min(size + 1, len(data) - place), place)
        if (hits := (part[:-1] == FILL[0]) & IS_MARKER[part[1:]]).any():
            return place + int(hits.argmax())
        place, size = place + size, min(2 * size, WINDOW)
    return len(data)


def _of_chunks(
    chunks: Iterator[Chunk], needed: frozenset[bytes], exif: bytes, file: Callable[[bytes], bytes]
) -> Bare:
    """Join the needed chunks to a file, and read the orientation from the first chunk with EXIF data."""
    kept, orientation = [], 1
    for count, (name, chunk) in enumerate(chunks, 1):
        _must_be_few("chunks", count, MAX_PARTS)
        if name in needed:
            kept.append(chunk)
        elif name == exif and orientation == 1:
            orientation = _orientation(chunk[8:])
    return Bare(file(b"".join(kept)), orientation)


def _png_chunks(data: bytes) -> Iterator[Chunk]:
    place, name = len(PNG_HEAD), b""
    while place < len(data) and name != b"IEND":
        name, end = data[place + 4 : place + 8], place + 12 + int.from_bytes(data[place : place + 4])
        yield name, data[place:end]
        place = end


def _webp_chunks(data: bytes) -> Iterator[Chunk]:
    place, last = 12, 8 + int.from_bytes(data[4:8], "little")
    while place < min(last, len(data)):
        length = int.from_bytes(data[place + 4 : place + 8], "little")
        end = place + 8 + length + length % 2
        yield data[place : place + 4], data[place:end]
        place = end


def _riff(body: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _orientation(exif: bytes) -> int:
    """Return the orientation in EXIF data; 1, which is upright, if there is none."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = TIFF.get(exif[:4])
    if order is None or len(exif) < 8:
        return 1
    (place,) = struct.unpack_from(f"{order}I", exif, 4)
    if place + 2 > len(exif):
        return 1
    (count,) = struct.unpack_from(f"{order}H", exif, place)
    entries = exif[place + 2 : place + 2 + 12 * min(count, MAX_ENTRIES)]
    for tag, kind, _, value in struct.iter_unpack(f"{order}HHI4s", entries[: len(entries) // 12 * 12]):
        if tag == 0x0112:
            size = 4 if kind == 4 else 2
            found = int.from_bytes(value[:size], "little" if order == "<" else "big")
            return found if 1 <= found <= 8 else 1
    return 1


def damaged() -> APIError:
    """Return the error of an image that can't be decoded: `broken_image` (400)."""
    return APIError(400, "broken_image", "the image can't be decoded: it is damaged or truncated")


def _must_be_few(name: str, count: int, most: int) -> None:
    if count > most:
        raise APIError(400, "broken_image", f"an image must have at most {most} {name}; got more")
