import math

import numpy as np
import pytest
import torch

from training.data import mixtures
from training.data.dataset import open_data
from training.data.mixtures import Gaussian, Modes


@pytest.mark.parametrize(
    ("spec", "modes", "deviation"),
    [
        ("ring8", mixtures.RING8_MODES, 0.008),
        ("grid25", mixtures.GRID25_MODES, 0.01),
        ("mixture16", mixtures.MIXTURE16_MODES, 0.02),
    ],
)
def test_every_mode_is_there_with_its_deviation(spec, modes, deviation):
    data = open_data(spec, modes.shape[1:], 0)
    offsets = data.real - modes[data.label]
    assert offsets.std().item() == pytest.approx(deviation, rel=0.02)
    share = torch.bincount(data.label) / len(data)
    assert share.min() > 0.8 / len(modes)
    assert len(data.labels) == len(modes) == len(share)
    assert data.real.abs().max() < 1, "within the range of tanh"


def test_the_ring_is_round_the_grid_square_and_the_mixture_at_right_angles():
    assert torch.allclose(mixtures.RING8_MODES.norm(dim=1), torch.tensor(0.8))
    assert len(mixtures.RING8_MODES) == 8
    assert mixtures.GRID25_MODES.unique(dim=0).shape == (25, 2)
    products = mixtures.MIXTURE16_MODES @ mixtures.MIXTURE16_MODES.T
    assert torch.allclose(products, 4 * torch.eye(16))


def test_as_many_points_as_asked_for_and_others_held_out():
    data = open_data("ring8:100", (2,), 0)
    assert (len(data), data.name) == (100, "ring8:100")
    held_out = data.held_out()
    assert len(held_out) == 100
    assert not torch.equal(held_out.real, data.real)
    for argument in ("0", "-5", "many"):
        with pytest.raises(ValueError, match="number of points"):
            open_data(f"grid25:{argument}", (2,), 0)


def test_the_gaussian_has_the_moments_that_are_claimed():
    real = open_data("gaussian2d", (2,), 0).real
    assert torch.allclose(real.mean(0), mixtures.GAUSSIAN_MEAN, atol=0.03)
    assert torch.allclose(torch.cov(real.T), mixtures.GAUSSIAN_A.T @ mixtures.GAUSSIAN_A, atol=0.1)


def test_wasserstein_is_the_closed_form():
    """Between N(0, I) and N(m, s^2 I) it is sqrt(|m|^2 + D (s - 1)^2); the axes count too."""
    points = torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0))
    truth = Gaussian(torch.zeros(2), torch.eye(2))
    assert truth.score(points.numpy())["wasserstein2"] < 0.01
    moved = (3 * points + torch.tensor([4.0, 0.0])).numpy()
    assert truth.score(moved)["wasserstein2"] == pytest.approx(math.sqrt(16 + 8), rel=0.01)
    flat, turned = torch.diag(torch.tensor([4.0, 1.0])), (points * torch.tensor([1.0, 2.0])).numpy()
    assert Gaussian(torch.zeros(2), flat).score(turned)["wasserstein2"] == pytest.approx(2**0.5, rel=0.01)


def test_real_data_score_well_and_noise_badly():
    """The floor and the control, of every set."""
    noise = np.random.default_rng(0).uniform(-1, 1, (10_000, 2)).astype(np.float32)
    for spec, modes in (("ring8", 8), ("grid25", 25)):
        data = open_data(spec, (2,), 0)
        real, bad = data.truth.score(data.held_out().real[:10_000].numpy()), data.truth.score(noise)
        assert real["modes_covered"] == modes
        assert real["high_quality"] == pytest.approx(0.989, abs=0.005)
        assert real["total_variation"] < 0.05
        assert bad["high_quality"] < 0.05
        assert bad["total_variation"] > 0.95
    gaussian = open_data("gaussian2d", (2,), 0)
    assert gaussian.truth.score(gaussian.held_out().real.numpy())["wasserstein2"] < 0.05
    assert gaussian.truth.score(noise)["wasserstein2"] > 2


def test_numbers_that_are_none_are_no_perfect_score():
    points = np.full((10, 2), np.nan, np.float32)
    assert math.isnan(open_data("gaussian2d", (2,), 0).truth.score(points)["wasserstein2"])
    assert open_data("ring8", (2,), 0).truth.score(points)["total_variation"] == pytest.approx(1)


def test_a_lost_mode_is_missed():
    truth = Modes(mixtures.RING8_MODES, 0.008)
    points = mixtures.RING8_MODES[torch.arange(7000) % 7].numpy()
    assert truth.score(points) == {
        "modes_covered": 7,
        "high_quality": 1,
        "total_variation": pytest.approx(1 / 8, abs=1e-3),
    }
