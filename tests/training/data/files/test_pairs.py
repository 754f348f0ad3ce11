"""Pairs by name in two folders and side by side in a file; what is no pair is named, doubted or refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from serving.imaging import codec
from tests.training.data.files.test_image_source import in_folder, in_tar, in_zip
from training.data.dataset import open_data
from training.data.validate import validate
from training.graphs.pixels import to_pixels
from zoo.entry import DomainShapes

SHAPE = (3, 8, 8)


def png(number: int, width: int = 8, height: int = 8, channels: int = 3) -> bytes:
    return codec.encode_png(np.full((height, width, channels), number, np.uint8))


def of_two_folders(a: str, b: str) -> dict[str, bytes]:
    """Eight pairs in two folders, of which b has the value of a and 100."""
    files = {f"{a}/{index}.png": png(index) for index in range(8)}
    return files | {f"{b}/{index}.png": png(100 + index) for index in range(8)}


def opened(place, shape=SHAPE):
    data = open_data(f"paired:{place}", shape, 0)
    batch = data.batch(0, int(data.size))
    return data, {name: to_pixels(images)[:, 0, 0, 0].tolist() for name, images in batch.items()}


@pytest.mark.parametrize("write", [in_folder, in_zip, in_tar])
@pytest.mark.parametrize("spelling", ["{0}", "train{0}", "{0}/train"])
def test_equal_names_in_two_folders_are_pairs(write, spelling, tmp_path, capsys):
    held_out = {f"test{letter}/7.png": png(number) for letter, number in (("A", 50), ("B", 60))}
    place = write(tmp_path / "set", of_two_folders(spelling.format("A"), spelling.format("B")) | held_out)
    data, values = opened(place)
    assert (data.kind, data.name, data.size) == ("pairs", f"paired:{place.name}", 8)
    assert sorted(values["a"]) == list(range(8))
    assert values["b"] == [100 + value for value in values["a"]]
    held = data.held_out()
    assert (held.name, held.size) == (f"paired:{place.name}/test", 1)
    assert to_pixels(held.batch(0, 1)["b"])[0, 0, 0, 0] == 60
    assert "warning" not in capsys.readouterr().err


def test_case_suffix_and_the_domain_in_a_name_do_not_matter(tmp_path):
    files = {"A/One.PNG": png(1), "A/2_A.png": png(2), "A/deep/3.png": png(3), "A/vitamin_a.png": png(4)}
    files |= {"B/one.png": png(101), "B/2_B.png": png(102), "B/deep/3.png": png(103)}
    files |= {"B/vitamin_a.png": png(104), "A/Cafe\u0301.png": png(5), "B/caf\u00e9.png": png(105)}
    _, values = opened(in_zip(tmp_path / "set", files))
    assert sorted(zip(values["a"], values["b"], strict=True)) == [(i, 100 + i) for i in range(1, 6)]


def test_images_without_a_partner_are_counted_and_named(tmp_path, capsys):
    files = of_two_folders("A", "B") | {"A/more.png": png(9), "B/yet.png": png(9)}
    place = in_folder(tmp_path / "set", files)
    said = "2 images have no partner of the same name and are left out, such as A/more.png, B/yet.png"
    assert opened(place)[0].size == 8
    assert capsys.readouterr().err.startswith(f"warning: paired:set: {said}\n")
    findings = validate(f"paired:{place}", image_size=8)
    assert said in findings.warnings
    assert findings.examples == {"A": 9, "B": 9}


def test_without_any_partner_it_is_refused(tmp_path):
    place = in_folder(tmp_path / "set", {"A/1.png": png(1), "B/2.png": png(2)})
    with pytest.raises(ValueError, match=r"equal names in A/ and B/; got A/1\.png and B/2\.png; .*unpaired"):
        open_data(f"paired:{place}", SHAPE, 0)
    assert "equal names" in validate(f"paired:{place}").bad[0]


def test_two_images_of_one_name_are_refused(tmp_path):
    files = of_two_folders("A", "B") | {"A/1.bmp": png(1)}
    with pytest.raises(ValueError, match=r"one image of a name in A/; got A/1\.bmp and A/1\.png"):
        open_data(f"paired:{in_folder(tmp_path / 'set', files)}", SHAPE, 0)


def test_the_two_ends_may_have_other_channels(tmp_path):
    """In two folders and side by side, from files of any mode."""
    colour = np.zeros((8, 16, 3), np.uint8)
    colour[:, :, 0], colour[:, 8:, 2] = 200, 100
    whole = codec.encode_png(colour)
    apart = [codec.encode_png(np.ascontiguousarray(half)) for half in np.split(colour, 2, 1)]
    shapes = DomainShapes((1, 8, 8), SHAPE)
    folders = {"A/1.png": apart[0], "B/1.png": apart[1]}
    for number, files in enumerate(({"1.png": whole}, folders)):
        batch = open_data(f"paired:{in_zip(tmp_path / str(number), files)}", shapes, 0).batch(0, 1)
        assert (batch["a"].shape, batch["b"].shape) == ((1, 1, 8, 8), (1, 3, 8, 8))
        assert to_pixels(batch["a"])[0, 0, 0].tolist() == [60]
        assert to_pixels(batch["b"])[0, 0, 0].tolist() == [200, 0, 100]


def side_by_side(sizes) -> dict[str, bytes]:
    return {f"{index:03}.png": png(index, *size) for index, size in enumerate(sizes)}


@pytest.mark.parametrize("write", [in_folder, in_zip])
def test_single_images_in_place_of_pairs_are_refused(write, tmp_path):
    """With what would do, also if a few are pairs."""
    place = write(tmp_path / "set", side_by_side([(8, 8)] * 19 + [(16, 8)]))
    said = r"twice as wide as high; 19 of 20 files .*000\.png; put .* the folders A and B"
    with pytest.raises(ValueError, match=said) as refused:
        open_data(f"paired:{place}", SHAPE, 0)
    assert str(refused.value) in validate(f"paired:{place}").bad


def test_files_that_are_no_usual_pairs_are_doubted_aloud(tmp_path, capsys):
    place = in_folder(tmp_path / "set", side_by_side([(16, 8)] * 18 + [(8, 8), (24, 8)]))
    said = "2 of 20 files are not twice as wide as high, such as 018.png; each is halved into a pair"
    assert opened(place)[0].size == 20
    assert f"warning: paired:set: {said}" in capsys.readouterr().err
    assert said in validate(f"paired:{place}").warnings


def test_usual_pairs_are_not_doubted(tmp_path, capsys):
    turned = tmp_path / "set" / "turned.jpg"
    place = in_folder(tmp_path / "set", side_by_side([(16, 8), (200, 100)]))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 16)).save(turned, exif=exif)
    assert opened(place)[0].size == 3
    assert "warning" not in capsys.readouterr().err


def test_images_of_a_pair_that_differ_in_shape_are_told(tmp_path, capsys):
    files = {"A/1.png": png(1, 16, 8), "B/1.png": png(2, 8, 8), "A/2.png": png(1), "B/2.png": png(2, 16, 16)}
    opened(in_folder(tmp_path / "set", files))
    assert "the images of 1 of 2 pairs differ in shape" in capsys.readouterr().err


def test_pairs_that_do_not_fit_in_memory_are_the_same(tmp_path, monkeypatch):
    place = in_folder(tmp_path / "set", of_two_folders("A", "B"))
    held = open_data(f"paired:{place}", SHAPE, 0).batch(0, 8)
    monkeypatch.setattr("training.data.files.image_folder.available_memory", lambda device: 0)
    read = open_data(f"paired:{place}", SHAPE, 0).batch(0, 8)
    assert all(torch.equal(held[name], read[name]) for name in "ab")
