"""Toy datasets of vectors from known distributions. Samples are scored against the distribution."""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from serving.arrays import Array
from serving.errors import UserError
from training.data.dataset import ShuffledDataset, generator
from training.data.transforms import vector_size

SIZE = 50_000
LICENCE = "CC0-1.0"

GAUSSIAN_A = torch.tensor([[1.0, 2.0], [-0.2, 0.5]])
GAUSSIAN_MEAN = torch.tensor([2.0, 1.0])

RING8_MODES = torch.tensor(
    [[0.8 * math.cos(turn), 0.8 * math.sin(turn)] for turn in (math.tau * k / 8 for k in range(8))]
)
GRID25_MODES = torch.cartesian_prod(torch.linspace(-0.8, 0.8, 5), torch.linspace(-0.8, 0.8, 5))
MIXTURE16_MODES = torch.tensor(
    [[0.5 * (-1) ** (row & column).bit_count() for column in range(16)] for row in range(16)]
)


@dataclass(frozen=True)
class Gaussian:
    """Multivariate normal distribution."""

    mean: Tensor
    covariance: Tensor
    headline = "wasserstein2"
    labels = ()

    def draw(self, size: int, draws: torch.Generator) -> tuple[Tensor, None]:
        """Draw points, float32 (size, D). They have no labels, so the second value is None."""
        normal = torch.randn(size, len(self.mean), generator=draws)
        return normal @ torch.linalg.cholesky(self.covariance).T + self.mean, None

    def score(self, points: Array) -> dict[str, float]:
        """Return the 2-Wasserstein distance to a normal distribution with the points' mean and covariance.

        The distance has a closed form (Dowson and Landau 1982).
        """
        samples = torch.from_numpy(points).double()
        root = _root(self.covariance.double())
        mean, covariance = samples.mean(0), torch.cov(samples.T)
        both = torch.linalg.eigvalsh(root @ covariance @ root).clamp(min=0).sqrt().sum()
        squared = (mean - self.mean).square().sum() + (covariance + self.covariance).trace() - 2 * both
        return {"wasserstein2": squared.clamp(min=0).sqrt().item()}


@dataclass(frozen=True)
class Modes:
    """Mixture of isotropic normal distributions of equal weight and deviation. Each component is a mode."""

    centers: Tensor
    deviation: float
    headline = "total_variation"

    def draw(self, size: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw points, float32 (size, D), and the indices of their modes, (size,)."""
        label = torch.randint(len(self.centers), (size,), generator=draws)
        spread = self.deviation * torch.randn(size, self.centers.shape[1], generator=draws)
        return self.centers[label] + spread, label

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the modes."""
        return tuple(f"mode {number}" for number in range(len(self.centers)))

    @property
    def radius(self) -> float:
        """Distance to a mode below which a point is of high quality.

        It is three standard deviations in two dimensions, and grows with the square root of the dimension.
        """
        return 3 * self.deviation * math.sqrt(self.centers.shape[1] / 2)

    def score(self, points: Array) -> dict[str, float]:
        """Compute the covered modes, the share of high-quality points and the total variation distance.

        The first two scores follow Srivastava et al. 2017. A mode is covered if it has at least a tenth of
        its expected share of the points. `total_variation` compares the shares of the modes with the true
        shares. Points outside every mode form one additional bin. It is 0 at best and 1 at worst.
        """
        distance, mode = torch.cdist(torch.from_numpy(points), self.centers).min(1)
        good = mode[distance < self.radius]
        shares = torch.bincount(good, minlength=len(self.centers)) / len(points)
        fair = 1 / len(self.centers)
        return {
            "modes_covered": float((shares >= fair / 10).sum()),
            "high_quality": float(shares.sum()),
            "total_variation": float((fair - shares).clamp(min=0).sum()),
        }


def gaussian2d(argument: str, sample_shape: tuple[int, ...], seed: int) -> ShuffledDataset:
    """Draw points x = n A + mu with n ~ N(0, I). They have mean mu and covariance A^T A.

    The argument is the number of points; the default is 50,000. The other datasets of this module take the
    same argument.
    """
    truth = Gaussian(GAUSSIAN_MEAN, GAUSSIAN_A.T @ GAUSSIAN_A)
    return _dataset("gaussian2d", truth, argument, sample_shape, seed)


def ring8(argument: str, sample_shape: tuple[int, ...], seed: int) -> ShuffledDataset:
    """Draw points around eight modes on a circle of radius 0.8, standard deviation 0.008.

    This is the usual ring (radius 2, deviation 0.02), scaled to the range of tanh.
    """
    return _dataset("ring8", Modes(RING8_MODES, 0.008), argument, sample_shape, seed)


def grid25(argument: str, sample_shape: tuple[int, ...], seed: int) -> ShuffledDataset:
    """Draw points around a 5x5 grid from -0.8 to 0.8, standard deviation 0.01.

    This is the usual grid (-4 to 4, deviation 0.05), scaled to the range of tanh.
    """
    return _dataset("grid25", Modes(GRID25_MODES, 0.01), argument, sample_shape, seed)


def mixture16(argument: str, sample_shape: tuple[int, ...], seed: int) -> ShuffledDataset:
    """Draw vectors of 16 numbers around 16 orthogonal modes, standard deviation 0.02."""
    return _dataset("mixture16", Modes(MIXTURE16_MODES, 0.02), argument, sample_shape, seed)


def _dataset(
    name: str,
    truth: Gaussian | Modes,
    argument: str,
    sample_shape: tuple[int, ...],
    seed: int,
    stream: int = 0,
) -> ShuffledDataset:
    if argument and not (argument.isdecimal() and int(argument) > 0):
        raise UserError(f"{name}: the number of points must be an integer, at least 1; got {argument!r}")
    size = int(argument or SIZE)
    real, label = truth.draw(size, generator(seed, stream))
    vector_size(sample_shape, real.shape[1])
    return ShuffledDataset(
        real,
        label,
        name=f"{name}:{argument}" if argument else name,
        seed=seed,
        labels=truth.labels,
        licence=LICENCE,
        truth=truth,
        held_out=partial(_dataset, name, truth, argument, sample_shape, seed, stream=1),
    )


def _root(matrix: Tensor) -> Tensor:
    """Return the square root of a symmetric positive semi-definite matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = vectors * values.clamp(min=0).sqrt() @ vectors.T
    return root
