"""Every format, read back."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from serving.api.formats import MEDIA_TYPES, Result, encode

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 8, 10, 3), dtype=np.uint8)
SOFT = np.repeat(np.repeat(IMAGES, 8, 1), 8, 2)


@pytest.mark.parametrize("array", [IMAGES, IMAGES[..., :1], IMAGES[::2, :5], np.eye(3, dtype=np.float32)])
def test_npy_is_what_numpy_writes(array):
    """The header is kept by shape and type, so every array here is written twice."""
    for _ in range(2):
        data = encode(Result(array, {}), "npy")
        read = np.load(io.BytesIO(data), allow_pickle=False)
        assert (read.dtype, read.shape) == (array.dtype, array.shape)
        assert np.array_equal(read, array)
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(array))
    assert data == file.getvalue()


@pytest.mark.parametrize(("kind", "most"), [("png", 0), ("webp", 12), ("jpeg", 12)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_is_near_what_it_was(kind, most, channels):
    pixels = SOFT[:1, ..., :channels]
    with Image.open(io.BytesIO(encode(Result(pixels, {}), kind))) as image:
        assert image.get_format_mimetype() == MEDIA_TYPES[kind]
        read = np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(pixels.shape)
    assert np.abs(read.astype(int) - pixels).mean() <= most


def test_an_archive_has_a_file_each_and_repeats():
    drawn = Result(IMAGES, {}, ["7", "8", "9"])
    data = encode(drawn, "zip")
    assert data == encode(drawn, "zip")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["7.png", "8.png", "9.png"]
        for name, image in zip(archive.namelist(), IMAGES, strict=True):
            assert np.array_equal(np.asarray(Image.open(archive.open(name))), image)
    with zipfile.ZipFile(io.BytesIO(encode(Result(IMAGES, {}), "zip"))) as archive:
        assert archive.namelist() == ["0000.png", "0001.png", "0002.png"]


def test_a_film_has_a_frame_each():
    with Image.open(io.BytesIO(encode(Result(SOFT, {}, milliseconds=50), "webp"))) as film:
        assert (film.n_frames, film.size) == (3, (80, 64))
        film.seek(1)
        film.load()
        assert film.info["duration"] == 50
    with Image.open(io.BytesIO(encode(Result(SOFT, {}), "webp"))) as sheet:
        assert sheet.n_frames == 1


def test_vectors_are_plots_and_numbers():
    points = Result(np.eye(2, dtype=np.float32), {"model": "m"}, limits=(-2, 2))
    with Image.open(io.BytesIO(encode(points, "png"))) as plot:
        assert plot.size == (256, 256)
    assert json.loads(encode(points, "json")) == {"model": "m", "vectors": [[1, 0], [0, 1]]}
    with zipfile.ZipFile(io.BytesIO(encode(points, "zip"))) as archive:
        assert len(archive.namelist()) == 2
