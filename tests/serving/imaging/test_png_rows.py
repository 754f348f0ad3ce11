"""PNG files written row by row, read by Pillow."""

import io

import numpy as np
import pytest
from PIL import Image

from serving.imaging.codec import encode_png
from serving.imaging.png_rows import write_png


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("heights", [[1] * 5, [3, 2], [4, 1], [5]])
def test_what_is_written_is_what_is_read(channels, heights):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    out = io.BytesIO()
    write_png(out, iter(np.split(pixels, np.cumsum(heights)[:-1])), pixels.shape)
    with Image.open(out) as image:
        image.load()
        assert image.mode == {1: "L", 3: "RGB"}[channels]
        assert np.array_equal(np.asarray(image).reshape(pixels.shape), pixels)


def test_a_whole_image_is_encoded_as_everywhere():
    pixels = np.random.default_rng(1).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    out = io.BytesIO()
    write_png(out, iter([pixels]), pixels.shape)
    assert out.getvalue() == encode_png(pixels)


def test_smooth_images_are_small():
    rows = np.linspace(0, 255, 512).astype(np.uint8)
    pixels = np.repeat(np.broadcast_to(rows[:, None], (512, 512))[..., None], 3, 2)
    out = io.BytesIO()
    write_png(out, iter(np.split(pixels, 8)), pixels.shape)
    assert len(out.getvalue()) < pixels.size / 50
