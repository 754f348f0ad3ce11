import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.data.files.test_image_source import in_tar, in_zip
from training.data.dataset import open_data, read
from training.data.files.domains import ByDomain
from training.graphs.pixels import to_pixels
from zoo.entry import DomainShapes

SHAPE = (3, 8, 8)


def picture(path, colour, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def domains(tmp_path):
    """Three reds and five blues to learn from, two of each held out."""
    for part, counts in (("train", (3, 5)), ("test", (2, 2))):
        for index in range(counts[0]):
            picture(tmp_path / f"{part}A" / f"{index}.png", (200, index, 0))
        for index in range(counts[1]):
            picture(tmp_path / f"{part}B" / f"{index}.png", (0, index, 200))
    return tmp_path


def test_each_domain_keeps_its_own_images_and_its_own_pace(domains):
    data = open_data(f"unpaired:{domains}", SHAPE, 0)
    assert (data.kind, data.size, data.name) == ("domains", 3, f"unpaired:{domains.name}")
    seen = {"a": [], "b": []}
    for step in range(15):
        for domain, images in data.batch(step, 1).items():
            red, index, blue = to_pixels(images)[0, 0, 0].tolist()
            assert (red, blue) == ((200, 0) if domain == "a" else (0, 200))
            seen[domain].append(index)
    assert [sorted(seen["a"][i : i + 3]) for i in (0, 3, 6)] == [[0, 1, 2]] * 3, "a begins anew sooner"
    assert [sorted(seen["b"][i : i + 5]) for i in (0, 5, 10)] == [list(range(5))] * 3
    again = open_data(f"unpaired:{domains}", SHAPE, 0).batch(7, 4)
    assert torch.equal(again["b"], data.batch(7, 4)["b"])


def test_equal_domains_are_not_paired_by_their_order(tmp_path):
    for index in range(40):
        for domain in "AB":
            picture(tmp_path / f"train{domain}" / f"{index}.png", (index, index, index))
    batch = open_data(f"unpaired:{tmp_path}", SHAPE, 0).batch(0, 40)
    assert (batch["a"] == batch["b"]).all(3).all(2).all(1).float().mean() < 0.2


def test_what_is_held_out_is_read_from_the_test_folders(domains):
    held_out = open_data(f"unpaired:{domains}", SHAPE, 0).held_out()
    assert (held_out.size, held_out.kind) == (2, "domains")
    for part in ("testA", "testB"):
        for path in (domains / part).iterdir():
            path.unlink()
        (domains / part).rmdir()
    assert open_data(f"unpaired:{domains}", SHAPE, 0).held_out() is None


def test_what_is_missing_is_named(tmp_path, domains):
    picture(tmp_path / "half" / "trainA" / "0.png", "red")
    with pytest.raises(ValueError, match=r"images of both domains, .*half; got trainA"):
        open_data(f"unpaired:{tmp_path / 'half'}", SHAPE, 0)
    (domains / "trainB" / "1.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"trainB/1\.png"):
        open_data(f"unpaired:{domains}", SHAPE, 0)
    with pytest.raises(ValueError, match="nowhere"):
        open_data("unpaired:nowhere", SHAPE, 0)


def test_pairs_stand_side_by_side(tmp_path):
    for part, count in (("train", 4), ("val", 2)):
        for index in range(count):
            pixels = np.zeros((8, 16, 3), np.uint8)
            pixels[:, :8, 0], pixels[:, 8:, 2] = index, 100 + index
            (tmp_path / part).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / part / f"{index}.png")
    data = open_data(f"paired:{tmp_path}", SHAPE, 0)
    assert (data.kind, data.size) == ("pairs", 4)
    batch = {name: to_pixels(images) for name, images in data.batch(0, 4).items()}
    assert torch.equal(batch["a"][:, 0, 0, 0] + 100, batch["b"][:, 0, 0, 2])
    assert sorted(batch["a"][:, 0, 0, 0].tolist()) == [0, 1, 2, 3]
    held_out = data.held_out()
    assert (held_out.kind, held_out.size) == ("pairs", 2)


def test_what_cannot_be_halved_is_named(tmp_path):
    picture(tmp_path / "odd.png", "red", (15, 8))
    with pytest.raises(ValueError, match=r"odd\.png: the width .* got 15"):
        open_data(f"paired:{tmp_path}", SHAPE, 0)


@pytest.mark.parametrize("write", [in_zip, in_tar])
def test_archives_and_other_names_of_the_folders_give_the_same(write, domains, tmp_path):
    wanted = open_data(f"unpaired:{domains}", SHAPE, 0)
    names = {f"{part}{letter}": f"{letter}/{part}" for part in ("train", "test") for letter in "AB"}
    files = {
        f"{name}/{path.name}": path.read_bytes()
        for folder, name in names.items()
        for path in (domains / folder).iterdir()
    }
    data = open_data(f"unpaired:{write(tmp_path / 'other', files)}", SHAPE, 0)
    for one, other in ((data, wanted), (data.held_out(), wanted.held_out())):
        assert all(torch.equal(one.batch(1, 4)[name], other.batch(1, 4)[name]) for name in "ab")


def test_domains_may_have_other_channels(domains):
    batch = open_data(f"unpaired:{domains}", DomainShapes((1, 8, 8), SHAPE), 0).batch(0, 2)
    assert (batch["a"].shape, batch["b"].shape) == ((2, 1, 8, 8), (2, 3, 8, 8))
    (both,) = read(ByDomain(open_data(f"unpaired:{domains}", DomainShapes((1, 8, 8), SHAPE), 0)), 4)
    assert both["real"].shape == (4, 3, 8, 8)
    assert torch.equal(both["real"][0, 0], both["real"][0, 2]), "grey is repeated"


def test_single_examples_are_not_domains(domains):
    with pytest.raises(ValueError, match="need data of two domains"):
        open_data(f"folder:{domains}", DomainShapes(SHAPE, SHAPE), 0)


def test_domains_are_examples_of_two_classes(domains):
    data = ByDomain(open_data(f"unpaired:{domains}", SHAPE, 0))
    assert (data.kind, data.labels, data.size) == ("examples", ("a", "b"), 6)
    (batch,) = read(data, 5)
    assert batch["label"].tolist() == [0, 1, 0, 1, 0]
    red = to_pixels(batch["real"])[:, 0, 0, 0]
    assert (red == 200).tolist() == [True, False, True, False, True]
    assert data.held_out().size == 4
