"""Values of more than 8 bits: the default rule, value ranges, and the same rule in every way to decode."""

import io
import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import serving
from serving.errors import APIError, UserError
from serving.imaging import codec, structure
from serving.imaging.files import FOLDER_FORMATS, decode_file
from serving.imaging.intake import to_pixels
from serving.imaging.values import default_range, must_be_a_range, to_levels
from serving.settings import Settings
from tests.serving.api.asking import app_of, array, asker, refused
from tests.serving.imaging.pictures import PICTURES, SIGNED, UNSAFE, WORDS, png16, tiff
from tests.training.cli.test_main import ganzoo

ROUNDED = {"LA", "RGBA", "16 bits LA", "16 bits RGBA", "Lab"}
"""Modes whose conversion is rounded more than once."""


@pytest.mark.parametrize("name", PICTURES)
def test_every_mode_has_its_pixels(name):
    data, expected = PICTURES[name]
    colour = np.broadcast_to(
        expected if expected.ndim == 3 else expected[..., None], (*expected.shape[:2], 3)
    )
    pixels = decode_file(data, 3, name).astype(float)
    assert np.abs(pixels - colour).max() <= (1 if name in ROUNDED else 0)
    grey = decode_file(data, 1, name)[..., 0].astype(float)
    assert np.abs(grey - colour @ [0.299, 0.587, 0.114]).max() <= 1.5


@pytest.mark.parametrize("name", UNSAFE)
def test_values_without_a_level_are_refused_and_mapped_by_a_range(name):
    with pytest.raises(UserError, match=r"^name: an image's values must be integers .*; got -\d+ to 2\d+$"):
        decode_file(UNSAFE[name], 1, "name")
    pixels = decode_file(UNSAFE[name], 1, name, (-500, 2000))[..., 0]
    assert np.array_equal(pixels, np.rint((SIGNED.clip(-500, 2000) + 500) * 255 / 2500))


@pytest.mark.parametrize(
    ("values", "sample_format"),
    [
        (np.array([[-5, 100]], np.int8), 2),
        (np.array([[5, 3_000_000_000]], np.uint32), 1),
        (np.array([[0, 65_536]], np.int32), 2),
        (np.array([[0.25, 1]], np.float32), 3),
        (np.array([[0, 255.5]], np.float32), 3),
        (np.array([[0, np.nan]], np.float32), 3),
    ],
)
def test_nothing_wraps_and_nothing_is_clipped_unasked(values, sample_format):
    with pytest.raises(UserError, match="an image's values must be"):
        decode_file(tiff(values, sample_format), 1, "name")


def test_unsigned_32_bits_are_mapped_whole():
    data = tiff(np.array([[0, 2**31, 2**32 - 1]], np.uint32), 1)
    assert decode_file(data, 1, "name", (0, 2**32 - 1)).flatten().tolist() == [0, 128, 255]


def test_a_range_leaves_8_bits_alone():
    data, expected = PICTURES["RGB"]
    assert np.array_equal(decode_file(data, 3, "name", (0, 10)), expected)


@given(st.integers(0, 65535))
def test_16_bits_are_divided_by_257(value):
    assert to_levels(np.array([[value]], np.uint16), None).item() == round(value / 257)


def test_large_images_are_mapped_in_blocks(monkeypatch):
    monkeypatch.setattr("serving.imaging.values.BLOCK", 20)
    assert np.array_equal(to_levels(WORDS, None), np.rint(WORDS / 257))


def test_the_default_is_safe():
    assert default_range(np.dtype(np.float32), 0, 0) == (0, 255)
    assert default_range(np.dtype(np.uint16), 0, 65535) == (0, 65535)
    for wrong in ((1.0, 1.0), (2.0, 1.0), (0.0, float("inf")), (float("nan"), 1.0)):
        with pytest.raises(UserError, match="value_range must be two finite numbers"):
            must_be_a_range(wrong)


@pytest.fixture(scope="module")
def ranged(artifacts, tmp_path_factory):
    """Two translators: `styles` with a value range, `plain` without."""
    root = tmp_path_factory.mktemp("ranged")
    for name in ("styles", "plain"):
        shutil.copytree(artifacts / "styles", root / name)
        manifest = json.loads((root / name / "manifest.json").read_text())
        manifest["name"] = name
        for graph in manifest["graphs"].values():
            graph["inputs"]["image"]["value_range"] = [-500, 2000] if name == "styles" else None
        (root / name / "manifest.json").write_text(json.dumps(manifest))
    return root


@pytest.fixture(scope="module")
def pipelines(ranged):
    return {name: serving.load(ranged / name) for name in ("styles", "plain")}


@pytest.fixture(scope="module")
def ask_ranged(ranged):
    return asker(app_of(Settings(artifacts=ranged)))


FILES = {name: data for name, (data, _) in PICTURES.items()} | {
    f"unsafe {name}": UNSAFE[name] for name in UNSAFE
}
FILES["12 bits"] = png16((WORDS // 16), 0)


@pytest.mark.parametrize("model", ["styles", "plain"])
@pytest.mark.parametrize("name", FILES)
def test_one_rule_in_the_shell_in_python_over_http_and_in_training(
    name, model, ranged, pipelines, ask_ranged, tmp_path, capsys
):
    """A picture becomes the same pixels everywhere, or is refused everywhere."""
    value_range = (-500.0, 2000.0) if model == "styles" else None
    data = FILES[name]
    path, out = tmp_path / "given.tif", tmp_path / "out.png"
    path.write_bytes(data)
    pipeline = pipelines[model]
    target = f"/v1/models/{model}/translate"
    over_http = ask_ranged("POST", target, params={"format": "npy"}, files={"image": data})

    def opened() -> Image.Image:
        return Image.open(io.BytesIO(data))

    try:
        pixels = decode_file(
            data, 3, name, value_range
        )  # of training, which the tests of datasets hold to it
    except UserError:
        assert name.startswith("unsafe")
        assert model == "plain"
        for image in (path, opened()):
            with pytest.raises(UserError, match="unless a value range is set"):
                pipeline.translate(image)
        assert ganzoo("translate", str(ranged / model), str(path), str(out)) == 2
        assert "unless a value range is set" in capsys.readouterr().err
        refused(over_http, 415)
        return
    expected = pipeline.translate(pixels)
    assert np.array_equal(to_pixels(opened(), 3, value_range), pixels)
    for image in (path, opened()):
        assert np.array_equal(pipeline.translate(image), expected)
    assert ganzoo("translate", str(ranged / model), str(path), str(out)) == 0
    assert np.array_equal(np.asarray(Image.open(out)), expected)
    if opened().format in structure.FORMATS:
        assert np.array_equal(array(over_http)[0], expected)
    else:
        refused(over_http, 415)


def test_a_value_range_is_of_two_ascending_numbers(ranged, tmp_path):
    shutil.copytree(ranged / "styles", tmp_path / "styles")
    manifest = json.loads((tmp_path / "styles" / "manifest.json").read_text())
    manifest["graphs"]["a2b"]["inputs"]["image"]["value_range"] = [5, 5]
    (tmp_path / "styles" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="value_range must be two finite numbers"):
        serving.load(tmp_path / "styles")


def test_an_open_image_is_as_it_was():
    """Reading 16 bits reads the file again, from the start."""
    data, expected = PICTURES["16 bits RGB"]
    with Image.open(io.BytesIO(b"".join([data])), formats=FOLDER_FORMATS) as image:
        first = codec.flatten(image, 3)
    assert np.array_equal(first, expected)
    with pytest.raises(APIError, match="got 0 to 1"):
        codec.flatten(Image.fromarray(np.array([[0, 1]], np.float32)), 1)
