"""Pictures of every mode, encoded by hand where Pillow can't write them, and the pixels that each has."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (6, 9), np.uint8)
COLOUR = RANDOM.integers(0, 256, (6, 9, 3), np.uint8)
ALPHA = RANDOM.integers(0, 256, (6, 9, 1), np.uint8)
WORDS = RANDOM.integers(0, 65536, (6, 9), np.uint16)
WORD_COLOUR = RANDOM.integers(0, 65536, (6, 9, 3), np.uint16)
WORD_ALPHA = RANDOM.integers(0, 65536, (6, 9, 1), np.uint16)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png16(values: np.ndarray, colour_type: int, *more: bytes) -> bytes:
    """A PNG with 16 bits per channel; more chunks go before the pixels."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = [b"IHDR" + head, *more, b"IDAT" + zlib.compress(rows), b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )


def tiff(values: np.ndarray, sample_format: int, order: str = "<") -> bytes:
    """A TIFF without compression: grey, or RGB if there is a third dimension."""
    height, width = values.shape[:2]
    channels = values.shape[2] if values.ndim == 3 else 1
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    lists = 8 + 2 + 12 * 10 + 4
    place = lists + 4 * channels * (channels > 1)

    def short(tag: int, value: int) -> bytes:
        return struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0)

    def long(tag: int, value: int) -> bytes:
        return struct.pack(f"{order}HHII", tag, 4, 1, value)

    def each(tag: int, value: int, offset: int) -> bytes:
        return struct.pack(f"{order}HHII", tag, 3, channels, offset) if channels > 1 else short(tag, value)

    bits = 8 * values.dtype.itemsize
    tags = long(256, width) + long(257, height) + each(258, bits, lists) + short(259, 1)
    tags += short(262, 2 if channels > 1 else 1) + long(273, place) + short(277, channels)
    tags += long(278, height) + long(279, len(data)) + each(339, sample_format, lists + 2 * channels)
    beside = struct.pack(f"{order}{2 * channels}H", *[bits] * channels, *[sample_format] * channels)
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, 10)
    return head + tags + bytes(4) + (beside if channels > 1 else b"") + data


def over_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colours of 8 bits over white, not rounded."""
    share = alpha / 255
    return colours * share + 255 * (1 - share)


def by_257(words: np.ndarray) -> np.ndarray:
    return np.rint(words / 257)


_CMYK = Image.fromarray(np.concatenate([COLOUR, ALPHA], 2), "CMYK")
_PALETTE = Image.fromarray(COLOUR).quantize(16)
_BITS = Image.fromarray(GREY).point(lambda value: 255 * (value > 99), "1")
_TURNED = Image.Exif()
_TURNED[0x0112] = 6

PICTURES = {
    "grey": (encoded(Image.fromarray(GREY)), GREY),
    "RGB": (encoded(Image.fromarray(COLOUR)), COLOUR),
    "1 bit": (encoded(_BITS), 255 * (GREY > 99)),
    "palette": (encoded(_PALETTE), np.asarray(_PALETTE.convert("RGB"))),
    "palette with transparency": (
        encoded(_PALETTE, transparency=3),
        np.where(np.asarray(_PALETTE)[..., None] == 3, 255, np.asarray(_PALETTE.convert("RGB"))),
    ),
    "LA": (encoded(Image.fromarray(np.dstack([GREY, ALPHA]), "LA")), over_white(GREY[..., None], ALPHA)),
    "RGBA": (encoded(Image.fromarray(np.dstack([COLOUR, ALPHA]))), over_white(COLOUR, ALPHA)),
    "a colour that is transparent": (
        encoded(Image.fromarray(COLOUR), transparency=tuple(COLOUR[0, 0].tolist())),
        np.where((COLOUR[0, 0] == COLOUR).all(2, keepdims=True), 255, COLOUR),
    ),
    "CMYK": (encoded(_CMYK, "TIFF"), np.asarray(_CMYK.convert("RGB"))),
    "YCbCr": (
        encoded(Image.fromarray(COLOUR).convert("YCbCr"), "TIFF"),
        np.asarray(Image.fromarray(COLOUR).convert("YCbCr").convert("RGB")),
    ),
    "Lab": (encoded(Image.new("LAB", (9, 6), (255, 128, 128)), "TIFF"), np.full((6, 9), 255)),
    "turned": (encoded(Image.fromarray(GREY), exif=_TURNED), np.rot90(GREY, -1)),
    "turned TIFF": (encoded(Image.fromarray(GREY), "TIFF", exif=_TURNED), np.rot90(GREY, -1)),
    "turned 16 bits": (encoded(Image.fromarray(WORDS), exif=_TURNED), np.rot90(by_257(WORDS), -1)),
    "turned 16 bits TIFF": (
        encoded(Image.fromarray(WORDS), "TIFF", exif=_TURNED),
        np.rot90(by_257(WORDS), -1),
    ),
    "animation": (
        encoded(Image.fromarray(GREY), "GIF", save_all=True, append_images=[Image.new("L", (9, 6))]),
        GREY,
    ),
    "pages": (
        encoded(Image.fromarray(GREY), "TIFF", save_all=True, append_images=[Image.new("L", (9, 6))]),
        GREY,
    ),
    "16 bits": (png16(WORDS, 0), by_257(WORDS)),
    "a grey of 16 bits that is transparent": (
        png16(WORDS, 0, b"tRNS" + struct.pack(">H", int(WORDS[2, 3]))),
        np.where(WORDS[2, 3] == WORDS, 255, by_257(WORDS)),
    ),
    "16 bits RGB": (png16(WORD_COLOUR, 2), by_257(WORD_COLOUR)),
    "a colour of 16 bits that is transparent": (
        png16(WORD_COLOUR, 2, b"tRNS" + struct.pack(">HHH", *WORD_COLOUR[2, 3].tolist())),
        np.where((WORD_COLOUR[2, 3] == WORD_COLOUR).all(2, keepdims=True), 255, by_257(WORD_COLOUR)),
    ),
    "16 bits LA": (
        png16(np.dstack([WORDS, WORD_ALPHA]), 4),
        over_white(by_257(WORDS)[..., None], WORD_ALPHA // 256),
    ),
    "16 bits RGBA": (
        png16(np.dstack([WORD_COLOUR, WORD_ALPHA]), 6),
        over_white(by_257(WORD_COLOUR), WORD_ALPHA // 256),
    ),
    "16 bits TIFF": (tiff(WORDS, 1), by_257(WORDS)),
    "16 bits TIFF, big-endian": (tiff(WORDS, 1, ">"), by_257(WORDS)),
    "16 bits TIFF, compressed": (
        encoded(Image.fromarray(WORDS), "TIFF", compression="tiff_lzw"),
        by_257(WORDS),
    ),
    "16 bits RGB TIFF": (tiff(WORD_COLOUR, 1), by_257(WORD_COLOUR)),
    "16 bits RGB TIFF, big-endian": (tiff(WORD_COLOUR, 1, ">"), by_257(WORD_COLOUR)),
    "16 bits PGM": (b"P5 9 6 65535\n" + WORDS.astype(">u2").tobytes(), by_257(WORDS)),
    "signed 16 bits": (tiff((WORDS // 2).astype(np.int16), 2), by_257(WORDS // 2)),
    "32 bits": (tiff(WORDS.astype(np.int32), 2), by_257(WORDS)),
    "float": (tiff(GREY.astype(np.float32), 3), GREY),
}
"""By name: the encoded picture and its pixels, (H, W) if grey or (H, W, 3), before they are rounded."""

SIGNED = RANDOM.integers(-1000, 3000, (6, 9))
UNSAFE = {
    "signed 16 bits": tiff(SIGNED.astype(np.int16), 2),
    "signed 16 bits, big-endian": tiff(SIGNED.astype(np.int16), 2, ">"),
    "32 bits": tiff(SIGNED.astype(np.int32), 2),
    "float": tiff(SIGNED.astype(np.float32), 3),
    "float, big-endian": tiff(SIGNED.astype(np.float32), 3, ">"),
}
"""Pictures of `SIGNED`, whose negative values have no level by default."""
