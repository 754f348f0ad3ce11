"""The known answer: mean mu and covariance A^T A, and a control that must miss them."""

import pytest
import torch

from training.config import Card, Run
from training.data import open_data
from training.loop import Training
from training.mixtures import GAUSSIAN_A, GAUSSIAN_MEAN
from zoo.linear_gan import LinearGAN
from zoo.objectives import OBJECTIVES, Objective

TOLERANCE = 0.25
"""On every number of the mean (2 and 1) and of the covariance (up to 4.25), after 6,000 steps."""


def errors(seed: int, **fields: str) -> tuple[float, float]:
    """Train, and give the greatest error of the learned mean and of the learned covariance."""
    entry = LinearGAN(**fields)
    training = Training(
        Card(name="linear-gan", entry=entry, run=Run(data="gaussian2d", seed=seed, device="cpu"))
    )
    data = open_data("gaussian2d", entry.sample_shape, seed)
    for _ in range(6000):
        training.step(data)
    linear = training.average.generators["generator"].linear
    covariance = linear.weight @ linear.weight.T - GAUSSIAN_A.T @ GAUSSIAN_A
    return (linear.bias - GAUSSIAN_MEAN).abs().max().item(), covariance.abs().max().item()


@pytest.mark.parametrize("seed", [0, 1])
def test_it_finds_the_mean_and_the_covariance(seed):
    mean, covariance = errors(seed)
    assert mean < TOLERANCE
    assert covariance < TOLERANCE


def test_with_a_broken_objective_it_misses_them(monkeypatch):
    """The control: a generator that is rewarded for being found out learns to be."""
    broken = Objective(
        generator=lambda fake, real: OBJECTIVES["softmax"].generator(-fake, real),
        discriminator=OBJECTIVES["softmax"].discriminator,
        score_size=2,
    )
    monkeypatch.setitem(OBJECTIVES, "hinge", broken)
    mean, covariance = errors(0, objective="hinge")
    assert max(mean, covariance) > 2 * TOLERANCE


def test_the_data_have_the_moments_that_are_claimed():
    real = open_data("gaussian2d", (2,), 0).real
    assert real.shape == (3200, 2)
    assert torch.allclose(real.mean(0), GAUSSIAN_MEAN, atol=0.1)
    assert torch.allclose(torch.cov(real.T), GAUSSIAN_A.T @ GAUSSIAN_A, atol=0.25)
