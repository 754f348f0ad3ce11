"""Images padded with parts that cost more to read than their bytes, and the metadata that is left out."""

import contextlib
import io
import struct
import threading
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from serving.errors import APIError
from serving.imaging import codec
from serving.imaging.structure import MAX_PARTS, MAX_SCANS, MAX_TABLES, RUN, bare

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))


def encoded(kind: str, image: Image.Image = NOISE, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


JPEG, PNG, WEBP = (encoded(kind) for kind in ("JPEG", "PNG", "WEBP"))
PROGRESSIVE = encoded("JPEG", progressive=True)
LAST = PROGRESSIVE.rindex(b"\xff\xda")
LARGE = encoded("JPEG", Image.new("RGB", (1400, 1400)), progressive=True)
LARGE_LAST = LARGE.rindex(b"\xff\xda")
RIFF = struct.pack("<I", len(WEBP) - 8 + 8 * 2 * MAX_PARTS)

PADDED = {
    "fill bytes before the end": JPEG[:-2] + 2 * RUN + JPEG[-2:],
    "fill bytes within a scan": JPEG[:-2] + 2 * RUN + b"\0" + JPEG[-2:],
    "fill bytes without an end": JPEG[:-2] + 2 * RUN,
    "empty comments": JPEG[:2] + b"\xff\xfe\x00\x02" * 2 * MAX_PARTS + JPEG[2:],
    "markers without a segment": JPEG[:2] + b"\xff\x01" * 2 * MAX_PARTS + JPEG[2:],
    "empty application segments": JPEG[:2] + b"\xff\xe5\x00\x02" * 2 * MAX_PARTS + JPEG[2:],
    "tables": JPEG[:2] + (b"\xff\xdb\x00\x43" + b"\x01" * 65) * (MAX_TABLES // 65) + JPEG[2:],
    "many scans": PROGRESSIVE[:-2] + PROGRESSIVE[LAST:-2] * MAX_SCANS + PROGRESSIVE[-2:],
    "scans of a large image": LARGE[:-2] + LARGE[LARGE_LAST:-2] * 40 + LARGE[-2:],
    "empty chunks": PNG[:33] + chunk(b"teST") * 2 * MAX_PARTS + PNG[33:],
    "empty chunks of pixels": PNG[:33] + chunk(b"IDAT") * 2 * MAX_PARTS + PNG[33:],
    "empty chunks of a WebP": WEBP[:4] + RIFF + WEBP[8:] + b"JUNK\0\0\0\0" * 2 * MAX_PARTS,
}


@pytest.mark.parametrize("name", PADDED)
def test_padded_images_are_refused(name):
    with pytest.raises(APIError, match=r"at most|fewer than") as refused:
        codec.decode(PADDED[name], 3)
    assert (refused.value.status, refused.value.code) == (400, "broken_image")


TAGS = struct.pack("<H", 2000) + b"".join(struct.pack("<HHII", tag, 7, 2**20, 8) for tag in range(2000))
EXIF = b"II*\0" + struct.pack("<I", 8) + TAGS + bytes(4)
"""EXIF data of many entries, each of which claims more bytes than there are; Pillow warns of each."""

RESOURCES = b"Photoshop 3.0\0" + (b"8BIM\0\1\0\0" + bytes(4)) * 5000

DRESSED = {
    "fill bytes before a segment": JPEG[:2] + 4 * RUN + JPEG[2:],
    "stuffed bytes before a segment": JPEG[:4] + JPEG[4:20] + b"\xff\x00" * 2**20 + JPEG[20:],
    "zeros before a segment": JPEG[:20] + bytes(2**20) + JPEG[20:],
    "beginnings before a segment": JPEG[:20] + b"\xff\xd8" * 2**20 + JPEG[20:],
    "EXIF data of a JPEG": JPEG[:2]
    + b"\xff\xe1"
    + struct.pack(">H", len(EXIF) + 8)
    + b"Exif\0\0"
    + EXIF
    + JPEG[20:],
    "resources": JPEG[:2]
    + (b"\xff\xed" + struct.pack(">H", len(RESOURCES) + 2) + RESOURCES) * 100
    + JPEG[2:],
    "bytes after the end": JPEG + bytes(2**20),
    "EXIF data of a PNG": PNG[:33] + chunk(b"eXIf", EXIF) + PNG[33:],
    "compressed text": PNG[:33] + chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**20))) * 60 + PNG[33:],
    "EXIF data of a WebP": WEBP[:4]
    + struct.pack("<I", len(WEBP) + len(EXIF))
    + WEBP[8:]
    + b"EXIF"
    + struct.pack("<I", len(EXIF))
    + EXIF,
}
PLAIN = {"JPEG": codec.decode(JPEG, 3), "PNG": codec.decode(PNG, 3), "WEBP": codec.decode(WEBP, 3)}


@pytest.mark.parametrize("name", DRESSED)
def test_metadata_and_bytes_between_segments_cost_nothing(name):
    start = time.thread_time()
    pixels = codec.decode(DRESSED[name], 3)
    assert time.thread_time() - start < 0.1
    assert any(np.array_equal(pixels, plain) for plain in PLAIN.values())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(10))
def test_images_are_turned_as_pillow_turns_them(kind, orientation):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "maker" * 20, orientation
    data = encoded(kind, NOISE.crop((0, 0, 30, 20)), exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(codec.decode(data, 3), codec.flatten(image, 3))
    reduced = bare(data)
    assert reduced is not None
    assert b"maker" not in reduced.data


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("exif", [b"", b"*\0", EXIF[:9], EXIF[:30], b"MM\0*" + b"\xff" * 9])
def test_damaged_exif_data_is_left_out(exif, order):
    assert bare(PNG[:33] + chunk(b"eXIf", exif) + PNG[33:]) == (PNG, 1)
    good = struct.pack(f"{order}HHHI4s", 1, 0x0112, 3, 1, struct.pack(f"{order}HH", 6, 0))
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8)
    assert bare(PNG[:33] + chunk(b"eXIf", start + good) + PNG[33:]) == (PNG, 6)


def test_a_segment_that_no_image_has_is_damage():
    with pytest.raises(APIError, match="damaged"):
        bare(JPEG[:20] + b"\xff\x37\x00\x02" + JPEG[20:])


@pytest.mark.parametrize("data", [JPEG, PNG, WEBP, PROGRESSIVE, LARGE])
def test_ordinary_images_stay_as_they_are(data):
    assert bare(data) == (data, 1)
    assert codec.decode(data, 3).shape[2] == 3


@pytest.mark.parametrize(
    "data",
    [
        JPEG[:-2] + b"\xff\xd0" * 2**22 + JPEG[-2:],
        JPEG[:2] + b"\xff" * 2**23,
        JPEG[:2] + b"\xff\xfe\x00\x00" * 2**21,
        PNG[:8] + bytes(2**23),
        WEBP[:12] + bytes(2**23),
        JPEG[:4] + b"\xff\x00" * 2**22,
    ],
)
def test_counting_itself_is_little_work(data):
    start = time.thread_time()
    with contextlib.suppress(APIError):
        bare(data)
    assert time.thread_time() - start < 0.5


@pytest.mark.parametrize("data", [JPEG, PNG, WEBP])
def test_cut_images_are_counted_too(data):
    for length in range(0, len(data), 7):
        bare(data[:length])


@pytest.mark.parametrize(
    "data",
    [
        JPEG[:2] + b"\xff" * 2**23 + JPEG[2:],
        JPEG[:-2] + b"\xff\x00" * 2**22 + JPEG[-2:],
        JPEG[:-2] + b"\xff" * 2**23 + JPEG[-2:],
    ],
)
def test_other_threads_run_meanwhile(data):
    """A thread that must wait for the interpreter waits for 5 ms at most, if it is given up as it should."""
    over, waits = threading.Event(), [0.0]

    def wait() -> None:
        while not over.is_set():
            start = time.perf_counter()
            time.sleep(0.001)
            waits.append(time.perf_counter() - start)

    thread = threading.Thread(target=wait)
    thread.start()
    with contextlib.suppress(APIError):
        bare(data)
    over.set()
    thread.join()
    assert max(waits) < 0.05
