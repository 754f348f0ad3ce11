"""Translation from files to files, by an artifact and by its run."""

import numpy as np
import pytest
from PIL import Image

from serving.imaging.codec import decode
from serving.offline.translate import translate
from serving.runtime.load import load
from training.cli.inference import open_model


def photograph(path, height, width, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([height, width]).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def test_an_image_by_an_artifact_and_by_its_run(artifacts, runs, tmp_path):
    given = photograph(tmp_path / "given.png", 21, 34)
    found = []
    pipelines = {"artifact": load(artifacts / "styles"), "run": open_model(runs / "styles")}
    for name, pipeline in pipelines.items():
        out = tmp_path / name / "out.png"
        assert translate(pipeline, given, out, "b2a") == 1
        found.append(decode(out.read_bytes(), 3).astype(int))
        assert found[-1].shape == (21, 34, 3)
    assert np.abs(found[0] - found[1]).max() <= 1
    translate(load(artifacts / "styles"), given, tmp_path / "other.png")
    assert not np.array_equal(decode((tmp_path / "other.png").read_bytes(), 3), found[0])


def test_a_folder_keeps_its_names_below_another(artifacts, tmp_path):
    photograph(tmp_path / "in" / "one.jpg", 9, 14)
    photograph(tmp_path / "in" / "deep" / "two.png", 16, 8)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    out = tmp_path / "out_v1.2"
    assert translate(load(artifacts / "pairs"), tmp_path / "in", out) == 2
    written = {path.relative_to(out): path for path in out.rglob("*.png")}
    assert {str(name) for name in written} == {"one.png", "deep/two.png"}
    assert [decode(written[name].read_bytes(), 3).shape for name in sorted(written)] == [
        (16, 8, 3),
        (9, 14, 3),
    ]


def test_orientation_is_applied(artifacts, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph(tmp_path / "given.jpg", 10, 30, exif=exif)
    translate(load(artifacts / "styles"), tmp_path / "given.jpg", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as out:
        assert out.size == (10, 30)


def test_what_cannot_be_translated_is_said(artifacts, tmp_path):
    given = photograph(tmp_path / "in" / "given.png", 9, 9)
    styles = load(artifacts / "styles")
    for source, image, out, direction, reason in (
        (
            load(artifacts / "pictures"),
            given,
            "out.png",
            None,
            "samples from latents",
        ),
        (styles, given, "out.jpg", None, r"must be a \.png file"),
        (styles, given, "out.png", "c2d", "a2b or b2a"),
        (styles, tmp_path / "in", "out.png", None, "must be a folder"),
        (styles, tmp_path / "nowhere", "out", None, "must be an existing path"),
        (styles, given, "in/given.png", None, "must not be the image"),
        (styles, tmp_path / "in", "in", None, "must be outside"),
        (styles, tmp_path / "in", "in/out", None, "must be outside"),
    ):
        with pytest.raises(ValueError, match=reason):
            translate(source, image, tmp_path / out, direction)
    photograph(tmp_path / "in" / "given.jpg", 9, 9)
    with pytest.raises(ValueError, match="have the same output"):
        translate(styles, tmp_path / "in", tmp_path / "out")
    (tmp_path / "in" / "given.jpg").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"given\.jpg"):
        translate(styles, tmp_path / "in" / "given.jpg", tmp_path / "out.png")


def test_the_contact_sheet_shows_real_translated_and_cycled(runs):
    """Side by side, for both directions; one direction alone has no way back."""
    with Image.open(runs / "styles" / "sheets" / "00000003-b2a.png") as sheet:
        assert sheet.size == (2 * 3 * 26 + 2, 3 * 18 + 2)
        pixels = np.asarray(sheet)
    graphs = open_model(runs / "styles")
    real, translated, cycled = (pixels[2:18, left : left + 24] for left in (2, 28, 54))
    # Torch sums in another order for one image than for the sheet's six.
    for direction, given, shown in (("b2a", real, translated), ("a2b", translated, cycled)):
        difference = graphs.translate(given[None], direction)[0].astype(int) - shown
        assert np.abs(difference).max() <= 1
        assert np.abs(difference).mean() < 0.01
    with Image.open(runs / "pairs" / "sheets" / "00000003-a2b.png") as sheet:
        assert sheet.size == (2 * 2 * 66 + 2, 3 * 34 + 2)
    assert not (runs / "pairs" / "sheets" / "00000003-b2a.png").exists()
