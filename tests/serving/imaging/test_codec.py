import io
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from serving.errors import APIError
from serving.imaging import codec, sheets


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def gradient(mode: str) -> Image.Image:
    return Image.linear_gradient("L").resize((12, 7)).convert(mode)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_lossless_formats_come_back_as_they_were(kind):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(pixels), kind, lossless=True)
    assert np.array_equal(codec.decode(data, 3), pixels)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "I;16"])
def test_every_mode_becomes_pixels(mode, channels):
    image = (
        gradient("L").convert(mode)
        if mode != "I;16"
        else Image.fromarray(np.arange(84, dtype=np.uint16).reshape(7, 12))
    )
    pixels = codec.decode(encoded(image), channels)
    assert pixels.shape == (7, 12, channels)
    assert pixels.dtype == np.uint8


def test_transparency_lies_over_white():
    image = Image.new("RGBA", (1, 1), (0, 0, 0, 128))
    assert codec.decode(encoded(image), 3).flatten().tolist() == [127, 127, 127]
    palette = Image.new("P", (1, 1))
    assert codec.decode(encoded(palette, transparency=0), 1).flatten().tolist() == [255]


def test_cmyk_becomes_rgb():
    data = encoded(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "JPEG")
    red, green, blue = codec.decode(data, 3)[0, 0]
    assert red > 200
    assert max(green, blue) < 60


def test_orientation_is_applied():
    image = Image.fromarray(np.array([[0, 50, 100], [150, 200, 250]], dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    pixels = codec.decode(encoded(image, "PNG", exif=exif), 1)[..., 0]
    assert pixels.tolist() == [[150, 0], [200, 50], [250, 100]]


def test_orientation_is_applied_to_sixteen_bits_too():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(np.array([[0, 257], [514, 771]], dtype=np.uint16))
    assert codec.decode(encoded(image, exif=exif), 1)[..., 0].tolist() == [[2, 0], [3, 1]]


def test_a_damaged_orientation_is_none():
    image = gradient("L")
    assert np.array_equal(codec.decode(encoded(image, exif=b"II*\x00"), 1)[..., 0], np.asarray(image))


def test_the_first_frame_of_an_animation():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert codec.decode(data, 3)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "PPM"])
def test_other_formats_are_unsupported_here(kind):
    with pytest.raises(APIError) as refused:
        codec.decode(encoded(gradient("L"), kind), 1)
    assert (refused.value.status, refused.value.code) == (415, "unsupported_image")


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG\r\n\x1a\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"GANZOO" * 99]
)
def test_garbage_is_refused(data):
    with pytest.raises(APIError) as refused:
        codec.decode(data, 3)
    assert refused.value.status in (400, 415)


@given(st.integers(9, 200), st.integers(0, 255))
def test_damage_is_refused_or_decoded_and_nothing_else(place, value):
    data = bytearray(encoded(gradient("RGB")))
    data[min(place, len(data) - 1)] = value
    for damaged in (bytes(data), bytes(data[:place])):
        try:
            codec.decode(damaged, 3)
        except APIError as refused:
            assert refused.status in (400, 413, 415)


def test_a_bomb_is_refused_by_its_header():
    data = bytearray(encoded(Image.new("L", (1, 1))))
    data[16:24] = (200_000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    with pytest.raises(APIError) as refused:
        codec.decode(bytes(data), 1)
    assert (refused.value.status, refused.value.code) == (413, "image_too_large")
    with pytest.raises(APIError, match="at most 10 pixels after padding; got 12x7"):
        codec.decode(encoded(gradient("L")), 1, max_pixels=10)


def test_png_is_lossless_in_grey_and_colour():
    for channels in (1, 3):
        pixels = np.random.default_rng(0).integers(0, 256, (5, 9, channels), dtype=np.uint8)
        assert np.array_equal(codec.decode(codec.encode_png(pixels), channels), pixels)


def test_a_sheet_holds_every_image_in_its_place():
    pictures = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1).repeat(3, 1).repeat(4, 2)
    sheet = sheets.sheet(pictures)
    assert sheet.shape == (2 * 5 + 2, 3 * 6 + 2, 1)
    for index in range(5):
        row, column = divmod(index, 3)
        assert (sheet[2 + 5 * row : 5 + 5 * row, 2 + 6 * column : 6 + 6 * column] == index).all()
    assert (sheet[7:, 14:] == 255).all(), "the last place stays white"


def test_a_scatter_puts_dots_where_they_belong():
    picture = sheets.scatter(np.array([[0.5, 0.5], [-1.0, -1.0]], np.float32), (-1.0, 1.0), size=64)
    assert picture.shape == (64, 64, 3)
    assert picture[16, 48].max() < 250, "right of and above the middle"
    assert picture[63, 0].max() < 250, "the lower left corner"
    assert (picture[32, 20] == 255).all()


def test_vectors_of_one_number_lie_on_a_line():
    assert sheets.scatter(np.array([[0.0]], np.float32), (0.0, 0.0)).shape == (256, 256, 3)


def test_a_picture_of_one_is_itself_and_of_more_a_sheet():
    pictures = np.zeros((4, 3, 3, 1), np.uint8)
    assert sheets.picture(pictures[:1]).shape == (3, 3, 1)
    assert sheets.picture(pictures).shape == (12, 12, 1)
    assert sheets.picture(np.zeros((4, 2), np.float32)).shape == (256, 256, 3)


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([(1, 1), (4, 8), (32, 32)]))
def test_padding_reaches_the_grid_and_keeps_the_image(height, width, grid):
    pixels = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    multiple, least = grid
    padded = codec.pad(pixels, multiple, least)
    for side, before in zip(padded.shape[1:3], (height, width), strict=True):
        assert side % multiple == 0
        assert side >= least
        assert side - before < max(multiple, least)
    assert np.array_equal(padded[:, :height, :width], pixels)


def test_padding_mirrors():
    pixels = np.arange(3, dtype=np.uint8).reshape(1, 1, 3, 1)
    assert codec.pad(pixels, 4, 8)[0, 5, :, 0].tolist() == [0, 1, 2, 1, 0, 1, 2, 1]


def test_a_thread_of_pixels_is_refused():
    assert codec.decode(encoded(Image.new("L", (1000, 1))), 1).shape == (1, 1000, 1)
    with pytest.raises(APIError, match="at most 1000 times the shorter") as refused:
        codec.decode(encoded(Image.new("L", (1, 20_000))), 1)
    assert refused.value.status == 413


def test_the_pixels_that_are_counted_are_those_after_padding():
    line = encoded(Image.new("L", (100, 1)))
    assert codec.decode(line, 1, max_pixels=800, grid=(4, 8)).shape == (1, 100, 1)
    with pytest.raises(APIError, match="100x1"):
        codec.decode(line, 1, max_pixels=799, grid=(4, 8))


def test_every_format_is_loaded_before_the_first_image():
    """Pillow would load WebP with its first image; if it can't for want of memory, WebP stays missing."""
    code = "from serving.imaging import codec, structure\nprint({*structure.FORMATS} <= "
    code += "codec.Image.SAVE_ALL.keys() | "
    code += "codec.Image.SAVE.keys(), {*structure.FORMATS} <= codec.Image.OPEN.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


@pytest.mark.parametrize("error", [OSError("encoder error -2"), RuntimeError("WebPEncodingError: 1")])
def test_what_an_encoder_says_without_memory_is_want_of_memory(error, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(MemoryError, match=str(error)):
        codec.encode_animation(np.zeros((2, 8, 8, 3), np.uint8), 40)
