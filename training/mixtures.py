"""Small 2-D distributions with a known truth: a Gaussian and two rings of modes."""

import math

import torch
from torch import Tensor

from training.data import Pool, generator, vector_size

GAUSSIAN_A = torch.tensor([[1.0, 2.0], [-0.2, 0.5]])
GAUSSIAN_MEAN = torch.tensor([2.0, 1.0])

RING8_MODES = torch.tensor(
    [[0.8 * math.cos(turn), 0.8 * math.sin(turn)] for turn in (math.tau * k / 8 for k in range(8))]
)
GRID25_MODES = torch.cartesian_prod(torch.linspace(-0.8, 0.8, 5), torch.linspace(-0.8, 0.8, 5))

LICENCE = "CC0-1.0"


def gaussian2d(argument: str, sample_shape: tuple[int, ...], seed: int) -> Pool:
    """Draw 3,200 points x = n A + mu with n ~ N(0, I): mean mu, covariance A^T A."""
    _no(argument)
    vector_size(sample_shape, 2)
    normal = torch.randn(3200, 2, generator=generator(seed, 0))
    return Pool(normal @ GAUSSIAN_A + GAUSSIAN_MEAN, name="gaussian2d", seed=seed, licence=LICENCE)


def ring8(argument: str, sample_shape: tuple[int, ...], seed: int) -> Pool:
    """Draw 50,000 points around eight modes on a circle of radius 0.8, standard deviation 0.008.

    The usual ring (radius 2, deviation 0.02) shrunk into the range of tanh.
    """
    _no(argument)
    return _around("ring8", RING8_MODES, 0.008, sample_shape, seed)


def grid25(argument: str, sample_shape: tuple[int, ...], seed: int) -> Pool:
    """Draw 50,000 points around a 5x5 grid from -0.8 to 0.8, standard deviation 0.01.

    The usual grid (-4 to 4, deviation 0.05) shrunk into the range of tanh.
    """
    _no(argument)
    return _around("grid25", GRID25_MODES, 0.01, sample_shape, seed)


def _around(name: str, modes: Tensor, deviation: float, sample_shape: tuple[int, ...], seed: int) -> Pool:
    vector_size(sample_shape, 2)
    draws = generator(seed, 0)
    label = torch.randint(len(modes), (50_000,), generator=draws)
    real = modes[label] + deviation * torch.randn(50_000, 2, generator=draws)
    labels = tuple(f"mode {number}" for number in range(len(modes)))
    return Pool(real, label, name=name, seed=seed, labels=labels, licence=LICENCE)


def _no(argument: str) -> None:
    if argument:
        raise ValueError(f"these data take no argument; got {argument!r}")
