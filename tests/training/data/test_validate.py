"""Data looked through: what is bad is named, what is doubtful is told, and what is sound passes."""

import json

import numpy as np
import pytest
from PIL import Image

from serving.imaging.files import FOLDER_FORMATS
from tests.training.cli.test_main import ganzoo
from training.data.dataset import SOURCES, open_data
from training.data.validate import BadData, table, validate


def picture(path, size=(64, 64), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture
def sound(tmp_path):
    """What nothing is wrong with."""
    for index in range(64):
        picture(tmp_path / "sound" / f"{index}.png")
    return tmp_path / "sound"


def test_what_is_sound_is_counted_and_passes(sound):
    findings = validate(f"folder:{sound}")
    findings.must_be_usable()
    assert (findings.data, findings.kind) == ("folder:sound", "examples")
    assert findings.examples == {"sound": 64}
    assert (findings.sizes, findings.modes) == ({"64x64": 64}, {"RGB": 64})
    assert (findings.held_out, findings.bad, findings.warnings) == ({}, [], [])


def test_every_bad_file_is_named_with_its_reason(sound):
    whole = (sound / "0.png").read_bytes()
    (sound / "cut.png").write_bytes(whole[: len(whole) // 2])
    (sound / "deep").mkdir()
    (sound / "deep" / "text.jpg").write_text("no image")
    (sound / "empty.webp").touch()
    (sound / "folder.png").mkdir()
    (sound / "gone.png").symlink_to("nowhere")
    findings = validate(f"folder:{sound}")
    formats = f"an image must have one of the formats {', '.join(FOLDER_FORMATS)}; got another one"
    assert findings.bad == [
        f"{sound}/cut.png: the image can't be decoded: it is damaged or truncated",
        f"{sound}/deep/text.jpg: {formats}",
        f"{sound}/empty.webp: {formats}",
    ]
    assert findings.skipped == {"not a file": 1}, "a link that leads nowhere"
    lines = [line.split(maxsplit=1) for line in table(findings).splitlines()]
    assert all(["error", said] in lines for said in findings.bad)
    assert findings.examples == {"sound": 64}
    with pytest.raises(BadData, match=r"folder:sound has unusable files or folders \(3\)"):
        findings.must_be_usable()


def test_it_refuses_what_a_run_refuses_and_nothing_else(sound):
    """Each kind of bad file alone, by both."""
    (sound / "cut.png").write_bytes((sound / "0.png").read_bytes()[:100])
    assert validate(f"folder:{sound}").bad
    with pytest.raises(ValueError, match="cut"):
        open_data(f"folder:{sound}", (3, 16, 16), 0)
    (sound / "cut.png").unlink()
    assert not validate(f"folder:{sound}").bad
    open_data(f"folder:{sound}", (3, 16, 16), 0)


def test_unlike_images_are_told(sound):
    picture(sound / "grey.png", mode="L")
    picture(sound / "small.png", size=(100, 40))
    picture(sound / "clear.png", mode="RGBA")
    findings = validate(f"folder:{sound}")
    assert findings.modes == {"RGB": 65, "L": 1, "RGBA": 1}
    assert findings.sizes == {"64x64": 66, "100x40": 1}
    assert [text.partition("; each")[0].partition("; all")[0] for text in findings.warnings] == [
        "1 of 67 images are smaller than 64x64 and will be upscaled; the smallest is 100x40",
        "the images have 2 sizes",
        "cropping to 64x64 loses 60% of the area of 1 of 67 images; use --fit pad or --fit squash to keep it",
        "the images have 3 modes",
    ]
    smaller = validate(f"folder:{sound}", image_size=40).warnings
    assert smaller == [text.replace("64x64", "40x40") for text in findings.warnings[1:]]
    assert "67 of 67" in validate(f"folder:{sound}", image_size=128).warnings[0]


def test_the_ways_to_fit_are_told(sound):
    picture(sound / "wide.png", size=(96, 64))
    for fit, done in (("pad", "padded with black"), ("squash", "squashed")):
        assert validate(f"folder:{sound}", fit=fit).warnings == [
            f"the images have 2 sizes; each is {done} and resized"
        ]


def test_values_that_a_run_refuses_are_bad_once(tmp_path, capsys):
    for index in range(64):
        values = np.random.default_rng(index).integers(0, 4096, (8, 8)).astype(np.uint16)
        Image.fromarray(values).save(tmp_path / f"{index}.png")
    spec = f"folder:{tmp_path}"
    (bad,) = validate(spec, 8).bad
    assert bad.startswith(f"{spec.partition(':')[0]}:{tmp_path.name}: the values of 64 images")
    assert bad.endswith("use --value-range 0 4095, or --value-range percentile")
    assert ganzoo("validate-data", spec, "--image-size", 8, "--value-range", 0, 4095) == 0
    assert "values" in capsys.readouterr().out
    assert validate(spec, 8, value_range="percentile").bad == []
    assert ganzoo("validate-data", spec) == 1


def test_one_image_is_few(tmp_path):
    picture(tmp_path / "one.png")
    findings = validate(f"folder:{tmp_path}")
    findings.must_be_usable()
    (warning,) = findings.warnings
    assert warning == f"{tmp_path.name}: fewer examples than a batch of 64, which repeats them; got 1"
    batch = open_data(f"folder:{tmp_path}", (3, 16, 16), 0).batch(0, 64)["real"]
    assert (batch == batch[:1]).all(), "that is the rule"


def test_domains_are_counted_and_unequal_ones_told(tmp_path):
    for folder, count in {"trainA": 64, "trainB": 321, "testA": 1, "testB": 2}.items():
        for index in range(count):
            picture(tmp_path / folder / f"{index}.png", size=(8, 8))
    findings = validate(f"unpaired:{tmp_path}", image_size=8)
    assert findings.examples == {"trainA": 64, "trainB": 321}
    assert findings.held_out == {"testA": 1, "testB": 2}
    (warning,) = findings.warnings
    assert warning.startswith("trainB is 5.0 times as large as trainA")
    for index in range(320, 200, -1):
        (tmp_path / "trainB" / f"{index}.png").unlink()
    assert validate(f"unpaired:{tmp_path}", image_size=8).warnings == []


def test_an_empty_or_missing_domain_is_a_mistake(tmp_path, capsys):
    picture(tmp_path / "trainA" / "0.png")
    (tmp_path / "trainB").mkdir()
    assert ganzoo("validate-data", f"unpaired:{tmp_path}") == 2
    assert f"in {tmp_path}; got trainA" in capsys.readouterr().err


def test_what_does_not_hold_a_pair_is_bad(tmp_path):
    for folder, width in (("train", 128), ("val", 127)):
        picture(tmp_path / folder / "0.png", size=(width, 64))
    findings = validate(f"paired:{tmp_path}")
    assert (findings.examples, findings.held_out, findings.sizes) == ({"train": 1}, {"val": 0}, {"64x64": 1})
    assert findings.bad == [f"{tmp_path}/val/0.png: the width must be a multiple of 2; got 127 pixels"]


@pytest.mark.parametrize("source", sorted(SOURCES.keys() - {"mnist", "fashion-mnist", "cifar10"}))
def test_every_source_can_be_looked_through(source, tmp_path):
    for folder in ("trainA", "trainB"):
        picture(tmp_path / folder / "0.png")
    files = source in ("folder", "paired", "unpaired")
    findings = validate(f"{source}:{tmp_path}" if files else source)
    findings.must_be_usable()
    assert all(count is None or count > 0 for count in findings.examples.values())
    assert table(findings).startswith("data ")


def test_without_end_is_said_so():
    findings = validate("glyphs:AB")
    assert (findings.examples, findings.classes) == ({"all": None}, {"A": None, "B": None})
    assert "unlimited" in table(findings)


def test_few_points_are_told():
    (warning,) = validate("ring8:10").warnings
    assert warning == "all: fewer examples than a batch of 64, which repeats them; got 10"
    assert sum(validate("ring8:100").classes.values()) == 100


def test_the_command_prints_it_and_its_status_tells(sound, capsys):
    assert ganzoo("validate-data", f"folder:{sound}", "--image-size", 32) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split() for line in said] == [
        ["data", "folder:sound,", "examples"],
        ["sound", "64"],
        ["sizes", "64x64", "(64)"],
        ["modes", "RGB", "(64)"],
    ]
    (sound / "0.png").write_bytes(b"")
    assert ganzoo("validate-data", f"folder:{sound}", "--json") == 1
    said = capsys.readouterr()
    assert len(json.loads(said.out)["bad"]) == 1
    assert "ganzoo: folder:sound has unusable files or folders (1)" in said.err
    assert ganzoo("validate-data", "moons") == 2
