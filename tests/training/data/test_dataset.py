import importlib
import inspect
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from training.data.dataset import SOURCES, ShuffledDataset, open_data
from training.data.transforms import fit, largest
from training.run.train_config import TrainConfig


def pool(size: int, seed: int = 0) -> ShuffledDataset:
    real = torch.arange(size, dtype=torch.float32)[:, None]
    return ShuffledDataset(real, torch.arange(size), name="numbers", seed=seed)


def drawn(data: ShuffledDataset, steps: range, size: int) -> list[int]:
    return [int(number) for step in steps for number in data.batch(step, size)["real"][:, 0]]


def test_a_pass_shows_every_example_once_in_a_new_order():
    data = pool(10)
    first, second = drawn(data, range(5), 2), drawn(data, range(5, 10), 2)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_batches_run_on_across_passes_and_repeat_a_set_smaller_than_they_are():
    seen = drawn(pool(7), range(7), 3)
    assert [sorted(seen[:7]), sorted(seen[7:14]), sorted(seen[14:])] == [list(range(7))] * 3
    assert sorted(drawn(pool(1), range(1), 4)) == [0, 0, 0, 0]
    assert sorted(drawn(pool(3), range(1), 6)) == [0, 0, 1, 1, 2, 2]


def test_balanced_batches_have_all_classes_equally_often():
    label = torch.tensor([0] * 90 + [1] * 3 + [2] * 7)
    real = torch.arange(100, dtype=torch.float32)[:, None]
    plain = ShuffledDataset(real, label, name="unequal", seed=0, labels=("a", "b", "c"))
    even = plain.balanced()
    for step in range(50):
        counts = torch.bincount(even.batch(step, 9)["label"], minlength=3)
        assert counts.max() - counts.min() <= 3, "rows of all classes may be cut at its ends"
    seen = torch.cat([even.batch(step, 100)["label"] for step in range(30)])
    assert torch.bincount(seen).tolist() == pytest.approx([1000, 1000, 1000], abs=30)
    of_b = [int(x) for step in range(30) for x in even.batch(step, 100)["real"] if 90 <= x < 93]
    assert np.bincount(of_b)[90:].tolist() == pytest.approx([333, 333, 333], abs=40)
    assert torch.equal(even.batch(7, 9)["real"], plain.balanced().batch(7, 9)["real"])
    shares = torch.bincount(torch.cat([plain.batch(step, 100)["label"] for step in range(3)]))
    assert shares.tolist() == [270, 9, 21], "the control"


def test_data_without_classes_can_not_be_balanced():
    with pytest.raises(ValueError, match="needs data with classes"):
        ShuffledDataset(torch.zeros(2, 1), name="none", seed=0).balanced()


def test_a_batch_depends_on_the_seed_and_the_step_alone():
    late = pool(50)
    assert drawn(late, range(40, 41), 8) == drawn(pool(50), range(41), 8)[-8:]
    assert drawn(pool(50, seed=1), range(3), 8) != drawn(pool(50), range(3), 8)


def test_labels_stay_with_their_examples():
    batch = pool(20).batch(3, 8)
    assert torch.equal(batch["real"][:, 0].long(), batch["label"])


def test_bytes_become_minus_one_to_one():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 1, 1, 3)
    real = ShuffledDataset(images, name="levels", seed=0).batch(0, 1)["real"]
    assert real.dtype == torch.float32
    assert torch.allclose(real.flatten(), torch.tensor([-1.0, -0.6, 1.0]))


def test_no_examples_are_refused():
    with pytest.raises(ValueError, match="at least one example"):
        pool(0)


@pytest.mark.parametrize(
    ("spec", "shape", "said"),
    [
        ("glyph", (1, 32, 32), "glyphs"),
        ("gaussian2d", (1, 32, 32), "vectors of 2"),
        ("gaussian2d:none", (2,), "number of points"),
        ("glyphs", (2,), "images"),
        ("glyphs", (2, 32, 32), "channels"),
        ("glyphs:AA", (1, 32, 32), "distinct"),
        ("glyphs: ", (1, 32, 32), "in Pillow's font; got"),
        ("glyphs:\u65e5\u672c", (1, 32, 32), "in Pillow's font; got"),
        ("folder", (1, 32, 32), "folder"),
        ("folder:no/such/place", (1, 32, 32), "no/such/place"),
    ],
)
def test_wrong_specs_are_refused_with_what_would_do(spec, shape, said):
    with pytest.raises(ValueError, match=said):
        open_data(spec, shape, 0)


@pytest.mark.parametrize("path", SOURCES.values())
def test_every_source_can_be_found(path):
    module, _, function = path.partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_the_help_names_every_source():
    assert all(name in inspect.getsource(TrainConfig) for name in SOURCES)


def test_fit_crops_the_middle_to_proportion():
    image = torch.zeros(1, 1, 4, 8, dtype=torch.uint8)
    image[..., 2:6] = 200
    assert torch.equal(fit(image, (1, 4, 4)), torch.full((1, 1, 4, 4), 200, dtype=torch.uint8))


def test_fit_resizes_as_pillow_does():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    pillow = np.asarray(Image.fromarray(pixels).resize((16, 16), Image.Resampling.BICUBIC), dtype=int)
    ours = fit(torch.tensor(pixels)[None, None], (1, 16, 16))[0, 0].numpy().astype(int)
    assert np.abs(ours - pillow).max() <= 1


SIDES = st.integers(1, 700)


@given(SIDES, SIDES, SIDES, SIDES)
@example(510, 61, 28, 61)
def test_the_largest_area_is_the_largest_and_inside(height, width, rows, columns):
    inner_rows, inner_columns = largest(height, width, rows, columns)
    assert 1 <= inner_rows <= rows
    assert 1 <= inner_columns <= columns
    assert inner_rows == rows or inner_columns == columns
    # By fractions, the other side is the exact one rounded down, or 1.
    scale = min(Fraction(rows, height), Fraction(columns, width))
    assert inner_rows == max(1, int(height * scale))
    assert inner_columns == max(1, int(width * scale))


def test_proportions_that_are_equal_are_never_cut():
    for side in range(1, 700):
        for small in range(1, 70):
            assert largest(small, small, side, side) == (side, side)


@pytest.mark.parametrize("size", [(8, 24), (24, 8), (7, 5), (1, 300)])
def test_padding_keeps_the_whole_image_in_the_middle(size):
    image = torch.full((2, 1, *size), 200, dtype=torch.uint8)
    padded = fit(image, (3, 16, 16), "pad")
    assert padded.shape == (2, 3, 16, 16)
    inside = padded[0, 0] == 200
    inner = largest(*size, 16, 16)
    rows, columns = inside.any(1).nonzero().flatten(), inside.any(0).nonzero().flatten()
    assert (len(rows), len(columns), int(inside.sum())) == (*inner, inner[0] * inner[1])
    assert abs(int(rows[0]) - (15 - int(rows[-1]))) <= 1
    assert abs(int(columns[0]) - (15 - int(columns[-1]))) <= 1
    assert set(padded.unique().tolist()) <= {0, 200}, "black, and no ringing at the edge"


def test_squashing_keeps_the_whole_image():
    ramp = torch.arange(240, dtype=torch.uint8).expand(1, 1, 8, 240)
    squashed = fit(ramp, (1, 16, 16), "squash")[0, 0]
    assert squashed.shape == (16, 16)
    assert squashed[0, 0] < 16
    assert squashed[0, -1] > 223
    assert fit(ramp, (1, 16, 16), "crop")[0, 0, 0, 0] > 100, "the control"


@pytest.mark.parametrize("how", ["crop", "pad", "squash"])
@pytest.mark.parametrize("shape", [(1, 5, 9), (3, 9, 5), (1, 1, 1)])
def test_every_way_to_fit_gives_the_shape(how, shape):
    image = torch.zeros(1, 3, 6, 11, dtype=torch.uint8)
    assert fit(image, shape, how).shape == (1, *shape)
    assert fit(image, shape, how).is_contiguous()


def test_fit_goes_between_grey_and_colour():
    colour = torch.tensor([10, 100, 200], dtype=torch.uint8).reshape(1, 3, 1, 1).expand(1, 3, 2, 2)
    grey = fit(colour, (1, 2, 2))
    assert grey.unique().tolist() == [round(0.299 * 10 + 0.587 * 100 + 0.114 * 200)]
    assert torch.equal(fit(grey, (3, 2, 2)), grey.expand(1, 3, 2, 2))


@pytest.fixture
def photographs(tmp_path):
    """Images of several sizes and modes, in folders, beside a file that is none."""
    (tmp_path / "deep").mkdir()
    Image.new("RGB", (40, 30), (200, 10, 10)).save(tmp_path / "a.jpg")
    Image.new("L", (9, 50), 128).save(tmp_path / "b.png")
    Image.new("RGBA", (33, 33), (0, 0, 0, 0)).save(tmp_path / "deep" / "c.PNG")
    Image.new("P", (16, 16)).save(tmp_path / "deep" / "d.gif")
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_a_folder_of_any_sizes_and_modes(photographs):
    data = open_data(f"folder:{photographs}", (3, 16, 16), 0)
    assert data.real.shape == (4, 3, 16, 16)
    assert data.name == f"folder:{photographs.name}", "no path of this machine"
    assert data.real[1].unique().tolist() == [128]
    assert data.real[2].unique().tolist() == [255], "transparency lies over white"


def test_a_bad_image_is_named_before_training(photographs):
    (photographs / "deep" / "cut.png").write_bytes((photographs / "b.png").read_bytes()[:40])
    with pytest.raises(ValueError, match=r"cut\.png"):
        open_data(f"folder:{photographs}", (3, 16, 16), 0)


def test_a_folder_with_train_and_test_holds_the_latter_out(photographs, tmp_path):
    for split, count in (("train", 3), ("test", 2)):
        (tmp_path / "set" / split).mkdir(parents=True)
        for index in range(count):
            Image.new("L", (16, 16), 10 * index).save(tmp_path / "set" / split / f"{index}.png")
    data = open_data(f"folder:{tmp_path / 'set'}", (1, 16, 16), 0)
    assert (len(data), len(data.held_out()), data.name) == (3, 2, "folder:set")
    assert open_data(f"folder:{photographs / 'deep'}", (1, 16, 16), 0).held_out() is None


@pytest.mark.parametrize("spec", ["glyphs", "ring8", "gaussian2d"])
def test_what_is_held_out_is_of_the_same_kind_and_not_the_same(spec):
    data = open_data(spec, (1, 16, 16) if spec == "glyphs" else (2,), 0)
    held_out = data.held_out()
    assert (held_out.name, held_out.labels, held_out.size) == (data.name, data.labels, data.size)
    ours, theirs = data.batch(0, 50)["real"], held_out.batch(0, 50)["real"]
    assert not torch.equal(ours, theirs)
    assert (ours.flatten(1)[:, None] == theirs.flatten(1)).all(2).sum() == 0, "none in both"


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no images"):
        open_data(f"folder:{tmp_path}", (3, 16, 16), 0)


def test_real_photographs(real_data):
    data = open_data(f"folder:{real_data / 'summer2winter' / 'testA'}", (3, 64, 64), 0)
    assert data.real.shape == (12, 3, 64, 64)
    assert 60 < data.real.float().mean() < 200
