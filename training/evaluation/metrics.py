"""Distances between real and generated samples, as sets of features: float32 (N, D) each.

torchmetrics takes seconds to import, so it is only where it is called: not every run is scored.
"""

import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

NEIGHBOURS = 5
SUBSET = 1000


class _AsTheyAre(nn.Module):
    """Stands where torchmetrics would extract features: ours are features already."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.num_features = size

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet(real: Tensor, fake: Tensor) -> float:
    """Fréchet distance of the normal distributions with the features' moments (Heusel et al. 2017)."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(_AsTheyAre(real.shape[1]))
    metric.update(real, real=True)
    metric.update(fake, real=False)
    return float(metric.compute())


def kernel(real: Tensor, fake: Tensor) -> float:
    """Squared maximum mean discrepancy by a cubic kernel, the KID, over subsets of 1,000 (Binkowski 2018)."""
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(SUBSET, len(real), len(fake))
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.default_generator.manual_seed(0)  # the subsets are drawn at random
        warnings.filterwarnings("ignore", ".*large memory footprint.*")
        metric = KernelInceptionDistance(_AsTheyAre(real.shape[1]), subsets=50, subset_size=size)
        metric.update(real, real=True)
        metric.update(fake, real=False)
        mean, _ = metric.compute()
    return float(mean)


def neighbourhoods(real: Tensor, fake: Tensor, neighbours: int = NEIGHBOURS) -> dict[str, float]:
    """Precision and recall (Kynkäänniemi 2019), density and coverage (Naeem 2020), 5 nearest neighbours.

    Every example's neighbourhood reaches to its fifth neighbour of its own kind. `precision` is the share of
    fakes in some real neighbourhood, `recall` that of real ones in some fake's, `density` the number of real
    neighbourhoods that a fake is in, by 5, and `coverage` the share of real ones with a fake in theirs.
    """
    real_reach, fake_reach = reach(real, neighbours), reach(fake, neighbours)
    inside_real = torch.zeros(len(fake))
    recalled, covered = torch.empty(len(real)), torch.empty(len(real))
    for index in torch.split(torch.arange(len(real)), SUBSET):
        distance = torch.cdist(real[index], fake)
        inside = distance <= real_reach[index, None]
        inside_real += inside.sum(0)
        recalled[index] = (distance <= fake_reach).any(1).float()
        covered[index] = inside.any(1).float()
    return {
        "precision": (inside_real > 0).float().mean().item(),
        "recall": recalled.mean().item(),
        "density": inside_real.mean().item() / neighbours,
        "coverage": covered.mean().item(),
    }


def likeness(images: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Compare images with what they ought to be, pixel by pixel: float32 (N, C, H, W) from 0 to 1 both.

    Each score is given for each image, (N,): `l1`, the mean distance; `psnr` in decibels, 100 where they are
    equal; `ssim`, the structural similarity (Wang et al. 2004).
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    error = (images - truth).square().mean((1, 2, 3)).clamp(min=1e-10)
    similarity: Any = structural_similarity_index_measure(images, truth, data_range=1.0, reduction="none")
    return {
        "l1": (images - truth).abs().mean((1, 2, 3)),
        "psnr": -10 * error.log10(),
        "ssim": similarity.reshape(-1),
    }


def best_recolouring(pairs: Iterable[tuple[Tensor, Tensor]]) -> Callable[[Tensor], Tensor]:
    """Find the one affine change of colours that brings images nearest to their truth, in the least squares.

    Args:
        pairs: images and their truth, float32 (N, C, H, W) from 0 to 1 each.

    Returns:
        What changes images so, cut to 0 to 1.
    """
    squares, products = torch.zeros(()), torch.zeros(())
    for images, truth in pairs:
        colours, wanted = _with_one(images).double(), truth.movedim(1, -1).flatten(0, 2).double()
        squares, products = squares + colours.T @ colours, products + colours.T @ wanted
    # The pseudo-inverse, since the colours of grey images are not independent.
    best = (torch.linalg.pinv(squares, hermitian=True) @ products).float()

    def recolour(images: Tensor) -> Tensor:
        nearest: Tensor = (_with_one(images) @ best).clamp(0, 1)
        return nearest.reshape(len(images), *images.shape[2:], -1).movedim(-1, 1)

    return recolour


def _with_one(images: Tensor) -> Tensor:
    """Give every pixel's colour, and 1 beside it: (N * H * W, C + 1)."""
    colours = images.movedim(1, -1).flatten(0, 2)
    return torch.cat([colours, torch.ones(len(colours), 1)], 1)


def reach(features: Tensor, neighbours: int) -> Tensor:
    """Give every example's distance to its neighbour of that rank, itself not counted: (N,)."""
    nearest = [
        torch.cdist(part, features).topk(neighbours + 1, largest=False).values[:, -1]
        for part in torch.split(features, SUBSET)
    ]
    return torch.cat(nearest)


def histogram(classes: Tensor, number: int) -> dict[str, float]:
    """Describe which classes samples were taken for, (N,): how many of them, and how evenly.

    A class is covered by a tenth of an equal share; `entropy` is that of the shares, by its greatest: 1 is
    even.
    """
    shares = torch.bincount(classes, minlength=number) / len(classes)
    most = math.log(number) or 1.0  # of one class alone the entropy is 0, and so is the greatest
    entropy = torch.special.entr(shares).sum().item() / most
    return {"classes_covered": float((shares >= 0.1 / number).sum()), "entropy": entropy}
