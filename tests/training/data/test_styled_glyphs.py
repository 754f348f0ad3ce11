import pytest
import torch

from training.data.dataset import open_data
from training.data.styled_glyphs import LEAN, plain, restyle
from zoo.entry import DomainShapes

SHAPE = (3, 32, 32)


def test_the_style_can_be_undone():
    """To within rounding: the narrowest colour has 76 levels for 255."""
    pairs = open_data("glyphs-style", SHAPE, 0).held_out().batch(0, 50)
    assert (plain(pairs["b"]) - pairs["a"]).abs().max() * 127.5 < 2.5
    assert (pairs["a"] - pairs["b"]).abs().mean() * 127.5 > 100


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 20, 48)])
def test_the_style_is_dark_on_paper_striped_and_leaning(shape):
    dark, light = -torch.ones(1, *shape), torch.ones(1, *shape)
    assert (restyle(light) < restyle(dark)).all(), "inverted"
    paper = restyle(dark)[0]
    assert (paper[0] > paper[1]).all()
    assert (paper[1] > paper[2]).all(), "tinted"
    assert len(paper[0].unique()) == 2, "striped"
    line = dark.clone()
    line[..., 16] = 1
    found = (restyle(line)[0, 0] < 0).int().argmax(1)
    assert found[0] - found[-1] == pytest.approx(LEAN * (shape[1] - 1), abs=1), "the top to the right"


def test_a_run_sees_no_pairs_and_only_what_is_held_out_has_them():
    data = open_data("glyphs-style", SHAPE, 3)
    batch = data.batch(0, 20)
    assert data.kind == "domains"
    assert not torch.isclose(restyle(batch["a"]), batch["b"]).all(3).all(2).all(1).any()
    held_out = data.held_out()
    assert held_out.kind == "pairs"
    pairs = held_out.batch(0, 20)
    assert torch.equal(restyle(pairs["a"]), pairs["b"])
    assert not torch.equal(pairs["a"], batch["a"])
    again = open_data("glyphs-style", SHAPE, 3).batch(0, 20)
    assert all(torch.equal(again[domain], batch[domain]) for domain in "ab")


def test_pairs_may_be_shown_too():
    data = open_data("glyphs-pairs:AB", SHAPE, 0)
    assert (data.kind, data.name) == ("pairs", "glyphs-pairs:AB")
    batch = data.batch(0, 4)
    assert torch.equal(restyle(batch["a"]), batch["b"])


def test_grey_images_have_no_tint():
    with pytest.raises(ValueError, match="colour images"):
        open_data("glyphs-style", (1, 32, 32), 0)
    batch = open_data("glyphs-pairs", DomainShapes((1, 32, 32), SHAPE), 0).batch(0, 4)
    assert batch["a"].shape == (4, 1, 32, 32)
    assert torch.equal(restyle(batch["a"]), batch["b"]), "grey is restyled in colour"
    assert torch.equal(batch["b"], open_data("glyphs-pairs", SHAPE, 0).batch(0, 4)["b"])
