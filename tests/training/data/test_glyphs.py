import pytest
import torch

from training.data.dataset import open_data


def test_a_batch_depends_on_the_seed_and_the_step_alone():
    one, again = open_data("glyphs", (1, 32, 32), 5), open_data("glyphs", (1, 32, 32), 5)
    one.batch(0, 8)
    for step in (3, 4):
        assert torch.equal(one.batch(step, 8)["real"], again.batch(step, 8)["real"])
    assert not torch.equal(one.batch(3, 8)["real"], one.batch(4, 8)["real"])
    other = open_data("glyphs", (1, 32, 32), 6)
    assert not torch.equal(one.batch(3, 8)["real"], other.batch(3, 8)["real"])


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64), (1, 16, 48)])
def test_any_size_and_channels(shape):
    batch = open_data("glyphs:GANZO", shape, 0).batch(0, 40)
    assert batch["real"].shape == (40, *shape)
    assert batch["real"].min() == -1
    assert batch["real"].max() > 0.9
    assert set(batch["label"].tolist()) == set(range(5))


def test_the_label_says_what_is_drawn():
    """A character's examples are nearer to the mean of its own class than to the others'."""
    data = open_data("glyphs", (1, 32, 32), 0)
    learnt, asked = data.batch(0, 4000), data.batch(1, 500)
    means = torch.stack([learnt["real"][learnt["label"] == k].mean(0) for k in range(10)])
    nearest = (asked["real"][:, None] - means).square().sum((2, 3, 4)).argmin(1)
    right = (nearest == asked["label"]).float().mean()
    shuffled = (nearest == asked["label"].roll(1)).float().mean()
    assert right > 0.5
    assert shuffled < 0.2


def test_nothing_is_cut_off_at_the_edge():
    real = open_data("glyphs", (1, 32, 32), 0).batch(0, 500)["real"][:, 0]
    ink = real > 0
    border = torch.cat([ink[:, 0], ink[:, -1], ink[:, :, 0], ink[:, :, -1]], dim=1)
    assert border.any(1).float().mean() < 0.02
    assert ink.flatten(1).any(1).all()
