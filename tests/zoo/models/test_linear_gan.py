"""The known answer: within 0.05 of the truth by the 2-Wasserstein distance, and a control that must miss."""

import pytest
import torch

from training.data.dataset import open_data
from training.loop.train import TrainState
from training.run.config import RunConfig
from training.run.train_config import TrainConfig
from zoo.models.linear_gan import LinearGAN, LinearGANSoftmax
from zoo.objectives import OBJECTIVES, Objective

TOLERANCE = 0.05
"""The 2-Wasserstein distance that counts as found; the truth's own deviations are 2.3 and 0.4."""


def distance(entry: LinearGAN, seed: int) -> float:
    """Train for 8,000 steps, and give the distance of 50,000 samples to the truth."""
    run = TrainConfig(data="gaussian2d", seed=seed, device="cpu", steps=8000)
    state = TrainState(RunConfig(name="linear-gan", entry=entry, train=run))
    data = open_data("gaussian2d", entry.sample_shape, seed)
    state.draw_preview(data)
    for _ in range(run.steps):
        state.step(data)
    latent = torch.randn(50_000, 2, generator=torch.Generator().manual_seed(1)).numpy()
    return data.truth.score(state.pipeline.run("generator", {"latent": latent}))["wasserstein2"]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_it_finds_the_truth(seed):
    assert distance(LinearGAN(), seed) < TOLERANCE


@pytest.mark.slow
def test_with_a_broken_objective_it_misses_it(monkeypatch):
    """The control: a generator that is rewarded for being found out learns to be."""
    fair = OBJECTIVES["non_saturating"]
    broken = Objective(
        generator=lambda fake, real: fair.generator(-fake, real), discriminator=fair.discriminator
    )
    monkeypatch.setitem(OBJECTIVES, "non_saturating", broken)
    assert distance(LinearGAN(), 0) > 10 * TOLERANCE


@pytest.mark.slow
def test_as_it_is_taught_it_comes_near():
    """Two-class softmax in small batches without a penalty circles around the truth."""
    entry = LinearGANSoftmax()
    assert (entry.objective, entry.learning_rate, entry.regularizer) == ("softmax", 0.01, "none")
    assert TOLERANCE < distance(entry, 0) < 10 * TOLERANCE
