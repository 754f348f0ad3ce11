"""Scores against closed forms and against what they must tell apart."""

import math

import pytest
import torch

from training.evaluation import metrics


def draws(seed: int, size: int = 3000, dimensions: int = 8) -> torch.Tensor:
    return torch.randn(size, dimensions, generator=torch.Generator().manual_seed(seed))


def test_frechet_is_that_of_two_normal_distributions():
    """|m|^2 + (s - 1)^2 D for N(0, I) against N(m, s^2 I), to within what 3,000 samples tell."""
    real, fake = draws(0), 2 * draws(1) + 3
    assert metrics.frechet(real, fake) == pytest.approx(8 * 9 + 8 * 1, rel=0.05)
    assert metrics.frechet(real, draws(1)) < 0.1
    assert metrics.frechet(real, real) == pytest.approx(0, abs=1e-3)


def test_the_kernel_distance_is_nothing_for_equals_and_repeats():
    real = draws(0)
    assert abs(metrics.kernel(real, draws(1))) < 0.05
    assert metrics.kernel(real, draws(1) + 1) > 1
    before = torch.get_rng_state()
    assert metrics.kernel(real, draws(1)) == metrics.kernel(real, draws(1))
    assert torch.equal(torch.get_rng_state(), before), "the random state is as it was"


def test_neighbourhoods_of_equals_are_full():
    scores = metrics.neighbourhoods(draws(0), draws(1))
    assert all(value > 0.85 for value in scores.values())
    assert scores["density"] == pytest.approx(1, abs=0.1)


def test_lost_modes_cost_recall_and_coverage_and_not_precision():
    real = draws(0) + 20 * (torch.arange(3000) % 2)[:, None]
    scores = metrics.neighbourhoods(real, draws(1))
    assert scores["precision"] > 0.85
    assert scores["recall"] < 0.55
    assert scores["coverage"] < 0.55


def test_noise_costs_precision_and_density():
    scores = metrics.neighbourhoods(draws(0), 20 * draws(1))
    assert scores["precision"] < 0.05
    assert scores["density"] < 0.05
    assert scores["coverage"] < 0.05


def test_neighbourhoods_on_a_line_are_those_counted_by_hand():
    """Real 0, 1, 2, 10 and fakes 0.5, 50, with one neighbour: reaches 1, 1, 1, 8 and 49.5 both."""
    real, fake = torch.tensor([[0.0], [1], [2], [10]]), torch.tensor([[0.5], [50]])
    assert metrics.reach(real, 1).tolist() == [1, 1, 1, 8]
    assert metrics.neighbourhoods(real, fake, neighbours=1) == {
        "precision": 0.5,
        "recall": 1.0,
        "density": 1.0,
        "coverage": 0.5,
    }


def test_the_histogram_counts_classes_and_how_even_they_are():
    even = metrics.histogram(torch.arange(1000) % 10, 10)
    assert even == {"classes_covered": 10, "entropy": pytest.approx(1)}
    assert metrics.histogram(torch.zeros(50, dtype=torch.int64), 10) == {"classes_covered": 1, "entropy": 0}
    halves = metrics.histogram(torch.arange(1000) % 2, 10)
    assert halves["entropy"] == pytest.approx(math.log(2) / math.log(10))
    assert metrics.histogram(torch.zeros(5, dtype=torch.int64), 1) == {"classes_covered": 1, "entropy": 0}
    rare = torch.cat([torch.zeros(995, dtype=torch.int64), torch.ones(5, dtype=torch.int64)])
    assert metrics.histogram(rare, 2)["classes_covered"] == 1


def test_likeness_is_of_each_image():
    """A tenth everywhere is 20 dB; what is equal is at 100 dB, and like itself."""
    truth = torch.rand(2, 3, 16, 20, generator=torch.Generator().manual_seed(0)) * 0.9
    images = torch.stack([truth[0], truth[1] + 0.1])
    scores = metrics.likeness(images, truth)
    assert scores["l1"].tolist() == pytest.approx([0, 0.1], abs=1e-6)
    assert scores["psnr"].tolist() == pytest.approx([100, 20], abs=1e-3)
    assert scores["ssim"][0] == pytest.approx(1)
    assert 0.5 < scores["ssim"][1] < 1
    assert metrics.likeness(truth.flip(3), truth)["ssim"].max() < 0.3


def test_ssim_is_of_the_windows_within_the_image():
    """The formula of Wang et al. 2004 with a convolution that pads nothing."""
    draws = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 3, 32, 40, generator=draws)
    images = (truth + 0.2 * torch.randn(truth.shape, generator=draws)).clamp(0, 1)
    line = torch.exp(-(((torch.arange(11) - 5) / 1.5) ** 2) / 2)
    window = torch.outer(line, line).div(line.sum() ** 2).expand(3, 1, 11, 11)

    def mean(values):
        return torch.nn.functional.conv2d(values, window, groups=3)

    one, other = mean(images), mean(truth)
    spread = mean(images**2) - one**2 + mean(truth**2) - other**2
    joint = mean(images * truth) - one * other
    similar = (2 * one * other + 1e-4) * (2 * joint + 9e-4) / ((one**2 + other**2 + 1e-4) * (spread + 9e-4))
    torch.testing.assert_close(metrics.likeness(images, truth)["ssim"], similar.mean((1, 2, 3)))


def test_the_best_recolouring_finds_any_change_of_colours_and_no_other():
    draws = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, 8, 8, generator=draws)
    change = torch.tensor([[0.2, 0.3, 0.1], [0.5, 0.1, 0.2], [0.1, 0.1, 0.4]])
    truth = torch.einsum("nchw,cd->ndhw", images, change) + 0.1
    parts = [(images[:3], truth[:3]), (images[3:], truth[3:])]
    assert torch.allclose(metrics.best_recolouring(parts)(images), truth, atol=1e-4)
    grey = images[:, :1].expand(-1, 3, -1, -1)
    assert torch.allclose(metrics.best_recolouring([(grey, 1 - grey)])(grey), 1 - grey, atol=1e-4)
    moved = metrics.best_recolouring([(images, truth.roll(3, 3))])(images)
    assert (moved - truth.roll(3, 3)).abs().mean() > 0.02
