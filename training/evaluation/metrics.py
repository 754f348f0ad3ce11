"""Metrics between the features of real and generated samples, float32 (N, D) each.

torchmetrics takes seconds to import. It is therefore imported inside the functions that need it.
"""

import math
import warnings
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

NEIGHBOURS = 5
SSIM_RADIUS = 5
"""Radius of the Gaussian window of SSIM in pixels."""

SUBSET = 1000


class _AsTheyAre(nn.Module):
    """Identity feature extractor for torchmetrics. The inputs are already features."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.num_features = size

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet(real: Tensor, fake: Tensor) -> float:
    """Return the Fréchet distance between normal distributions fitted to the features.

    With Inception features, this is the FID (Heusel et al. 2017).
    """
    real, fake = real.double(), fake.double()
    first, second = torch.cov(real.T), torch.cov(fake.T)
    # The eigenvalues of the product of the covariances are those of a symmetric matrix.
    values, vectors = torch.linalg.eigh(first)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    both = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0).sqrt().sum()
    means = (real.mean(0) - fake.mean(0)).square().sum()
    return float(means + first.trace() + second.trace() - 2 * both)


def kernel(real: Tensor, fake: Tensor) -> float:
    """Return the squared maximum mean discrepancy with a cubic polynomial kernel.

    It is the mean over 50 random subsets of at most 1,000 samples. With Inception features, this is the KID
    (Binkowski et al. 2018).
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(SUBSET, len(real), len(fake))
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.default_generator.manual_seed(0)  # fix the random subsets
        warnings.filterwarnings("ignore", ".*large memory footprint.*")
        metric = KernelInceptionDistance(_AsTheyAre(real.shape[1]), subsets=50, subset_size=size)
        metric.update(real, real=True)
        metric.update(fake, real=False)
        mean, _ = metric.compute()
    return float(mean)


def neighbourhoods(real: Tensor, fake: Tensor, neighbours: int = NEIGHBOURS) -> dict[str, float]:
    """Return precision and recall (Kynkäänniemi 2019), and density and coverage (Naeem 2020).

    The neighbourhood of an example is a ball around it. Its radius is the distance to the example's k-th
    nearest neighbour in its own set, with k = 5 by default.

    - `precision`: share of fake samples inside at least one real neighbourhood.
    - `recall`: share of real samples inside at least one fake neighbourhood.
    - `density`: mean number of real neighbourhoods around a fake sample, divided by k.
    - `coverage`: share of real samples with at least one fake sample in their neighbourhood.
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
    """Compare images with the ground truth. Both are float32 (N, C, H, W) in [0, 1].

    Each score has one value per image, (N,):

    - `l1`: mean absolute difference.
    - `psnr`: peak signal-to-noise ratio in decibels, at most 100.
    - `ssim`: structural similarity (Wang et al. 2004), averaged over the windows that lie within the image.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    error = (images - truth).square().mean((1, 2, 3)).clamp(min=1e-10)
    _, similarity = structural_similarity_index_measure(
        images, truth, data_range=1.0, reduction="none", return_full_image=True
    )
    within = slice(SSIM_RADIUS, -SSIM_RADIUS)
    return {
        "l1": (images - truth).abs().mean((1, 2, 3)),
        "psnr": -10 * error.log10(),
        "ssim": similarity[:, :, within, within].mean((1, 2, 3)),
    }


def best_recolouring(pairs: Iterable[tuple[Tensor, Tensor]]) -> Callable[[Tensor], Tensor]:
    """Fit one affine colour transform from images to the ground truth, by least squares.

    Args:
        pairs: images and their ground truth, float32 (N, C, H, W) in [0, 1] each.

    Returns:
        A function that applies the transform to images and clamps the result to [0, 1].
    """
    squares, products = torch.zeros(()), torch.zeros(())
    for images, truth in pairs:
        colours, wanted = _with_one(images).double(), truth.movedim(1, -1).flatten(0, 2).double()
        squares, products = squares + colours.T @ colours, products + colours.T @ wanted
    # Use the pseudo-inverse. The channels of grey images are linearly dependent.
    best = (torch.linalg.pinv(squares, hermitian=True) @ products).float()

    def recolour(images: Tensor) -> Tensor:
        nearest: Tensor = (_with_one(images) @ best).clamp(0, 1)
        return nearest.reshape(len(images), *images.shape[2:], -1).movedim(-1, 1)

    return recolour


def _with_one(images: Tensor) -> Tensor:
    """Return the colour of every pixel with a constant 1 appended: (N * H * W, C + 1)."""
    colours = images.movedim(1, -1).flatten(0, 2)
    return torch.cat([colours, torch.ones(len(colours), 1)], 1)


def reach(features: Tensor, neighbours: int) -> Tensor:
    """Return the distance of every example to its k-th nearest neighbour, with k = `neighbours`: (N,)."""
    nearest = [
        torch.cdist(part, features).topk(neighbours + 1, largest=False).values[:, -1]
        for part in torch.split(features, SUBSET)
    ]
    return torch.cat(nearest)


def histogram(classes: Tensor, number: int) -> dict[str, float]:
    """Return the number of covered classes and the normalised entropy of the predicted classes, (N,).

    A class is covered if it has at least a tenth of an equal share of the samples. `entropy` is divided by
    its maximum, so 1 is a uniform distribution.
    """
    shares = torch.bincount(classes, minlength=number) / len(classes)
    most = math.log(number) or 1.0  # with one class, the entropy and its maximum are 0
    entropy = torch.special.entr(shares).sum().item() / most
    return {"classes_covered": float((shares >= 0.1 / number).sum()), "entropy": entropy}
