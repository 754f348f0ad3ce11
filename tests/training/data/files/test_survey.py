"""A look at all files: modes, sizes and values, and what is said of them."""

import struct

import numpy as np
import pytest
from PIL import Image

from serving.errors import UserError
from tests.serving.imaging.pictures import GREY, PICTURES, UNSAFE, encoded, tiff
from training.data.files import survey as survey_module
from training.data.files.image_source import Folder
from training.data.files.splits import Part
from training.data.files.survey import Survey, survey


def look_at(place, files: dict[str, bytes], abreast: int = 1) -> Survey:
    for name, data in files.items():
        (place / name).write_bytes(data)
    source = Folder(place)
    return survey(source, [Part("", source.images)], abreast)


def words(*ends: float, kind: type = np.uint16) -> bytes:
    return tiff(np.array([ends], kind), 3 if kind is np.float32 else 2 if kind is np.int32 else 1)


def test_sizes_and_modes_are_those_of_all_files(tmp_path):
    found = look_at(tmp_path, {f"{number}.tif": data for number, (data, _) in enumerate(PICTURES.values())})
    assert found.sizes == {(9, 6): len(PICTURES) - 4, (6, 9): 4}, "as they are seen"
    assert found.modes["RGB"] >= 3
    assert found.modes.total() == len(PICTURES)


@pytest.mark.parametrize("name", PICTURES)
def test_channels_are_those_that_the_pixels_need(name, tmp_path):
    data, expected = PICTURES[name]
    found = look_at(tmp_path, {"one.tif": data})
    wanted = 3 if (expected.ndim == 3 and expected.shape[2] == 3) or name in ("Lab",) else 1
    assert found.channels == wanted


def test_one_colour_image_makes_all_colour(tmp_path):
    files = {f"{number}.png": PICTURES["grey"][0] for number in range(5)}
    assert look_at(tmp_path, files).channels == 1
    assert look_at(tmp_path, {"other.png": PICTURES["RGB"][0]}).channels == 3


def test_a_palette_of_greys_is_grey(tmp_path):
    grey = Image.fromarray(GREY).convert("RGB").quantize(16)
    assert look_at(tmp_path, {"grey.png": encoded(grey)}).channels == 1
    assert look_at(tmp_path, {"colour.png": PICTURES["palette"][0]}).channels == 3


def test_a_long_header_is_read_too(tmp_path):
    whole = encoded(Image.fromarray(GREY), "JPEG")
    padded = whole[:2] + 2 * (b"\xff\xfe\xff\xff" + bytes(65533)) + whole[2:]
    assert look_at(tmp_path, {"one.jpg": padded}).sizes == {(9, 6): 1}


def test_damaged_files_are_left_to_those_who_read_them(tmp_path):
    files = {"cut.png": PICTURES["16 bits"][0][:90], "none.png": b"", "text.png": b"no image"}
    found = look_at(tmp_path, files | {"nan.tif": words(0, np.nan, kind=np.float32)})
    assert (found.values, found.sizes.total()) == ([], 0)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            [words(0, 4095), words(7, 300)],
            r"2 images .* from 0 to 4095, .*small part.*--value-range 0 4095, or",
        ),
        ([words(40_000, 50_000)], "small part .*; use --value-range 0 65535, or"),
        ([words(-20, 300, kind=np.int32)], "from -20 to 300, but integers .*; use --value-range -20 300, or"),
        ([words(0, 1, kind=np.float32)], "from 0 to 1, but floats .*; use --value-range 0 1, or"),
        (
            [words(0, 200, kind=np.float32), words(0, 0.5, kind=np.float32)],
            "2 images .*; use --value-range 0 255, or",
        ),
        ([words(0, 900, kind=np.float32)], "from 0 to 900, but floats .*; use --value-range 0 900, or"),
    ],
)
def test_values_that_would_be_lost_are_refused_with_what_would_do(files, said, tmp_path):
    found = look_at(tmp_path, {f"{number}.tif": data for number, data in enumerate(files)})
    with pytest.raises(UserError, match=rf"^data: the values of .*{said} --value-range percentile$"):
        found.value_range(None, "data")


@pytest.mark.parametrize("data", [words(0, 60_000), words(0, 200, kind=np.float32), PICTURES["RGB"][0]])
def test_values_that_the_default_keeps_are_taken(data, tmp_path):
    assert look_at(tmp_path, {"one.tif": data}).value_range(None, "data") is None


def test_percentiles_are_those_of_all_images(tmp_path):
    values = np.arange(10_000).reshape(2, 50, 100)
    files = {f"{number}.tif": tiff(half.astype(np.int32), 2) for number, half in enumerate(values)}
    found = look_at(tmp_path, files)
    low, high = found.value_range("percentile", "data")
    assert (low, high) == pytest.approx((10, 9989), abs=1)
    assert "of which 0.20% are clipped" in found.clipped((low, high))
    assert found.clipped((0, 4999)).endswith("the data have 0 to 9999, of which 50.00% are clipped")


def test_percentiles_of_many_values_are_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(survey_module, "SAMPLED", 2000)
    values = np.random.default_rng(0).integers(0, 10_000, (200, 200)).astype(np.uint16)
    found = look_at(tmp_path, {"one.tif": tiff(values, 1)})
    assert len(found.sampled()) == 2000
    assert found.ends == (values.min(), values.max())
    assert found.value_range("percentile", "data") == pytest.approx((10, 9990), abs=100)


def test_a_range_needs_deep_images_and_percentiles_values_that_differ(tmp_path):
    found = look_at(tmp_path, {"one.png": PICTURES["RGB"][0]})
    for asked in ("percentile", (0.0, 5.0)):
        with pytest.raises(UserError, match=r"more than 8 bits per channel; data has none"):
            found.value_range(asked, "data")
    same = look_at(tmp_path, {"two.tif": words(7, 7)})
    with pytest.raises(UserError, match="nearly all values of data are 7"):
        same.value_range("percentile", "data")
    assert same.value_range((1.0, 9.0), "data") == (1, 9)
    assert look_at(tmp_path, {"three.tif": UNSAFE["float"]}).value_range((-9.0, 9.0), "data") == (-9, 9)


def test_crops_that_lose_much_are_counted(tmp_path):
    sizes = [(96, 32), (32, 96), (40, 32), (41, 32), (32, 32)]
    found = look_at(tmp_path, {f"{w}x{h}.png": encoded(Image.new("L", (w, h))) for w, h in sizes})
    (said,) = found.lost(16, 16)
    assert said.startswith("cropping to 16x16 loses 52% of the area of 3 of 5 images; use --fit pad")
    assert list(look_at(tmp_path, {}).lost(96, 32)) != []
    halves = tmp_path / "halves"
    halves.mkdir()
    assert list(look_at(halves, {"pair.png": encoded(Image.new("L", (64, 32)))}, 2).lost(8, 8)) == []


def test_a_header_costs_no_pixels(tmp_path):
    """The pixels of 8 bits are not read: here there are none."""
    head = PICTURES["RGB"][0][:33] + struct.pack(">I", 10) + b"IDAT" + bytes(14)
    assert look_at(tmp_path, {"one.png": head}).sizes == {(9, 6): 1}
