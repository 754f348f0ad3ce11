"""Copies of training images among samples, found by their nearest neighbours in the features."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from training.evaluation.metrics import SUBSET

SHARE = 0.01
"""Share of held-out images that may be nearer to a training image than the bound of a copy."""


class Nearest(NamedTuple):
    """The nearest training image of each of N images."""

    distance: Tensor
    """Distance between the features, float32 (N,)."""

    place: Tensor
    """Index of the training image, (N,)."""


class Copies:
    """Detector of copies of training images.

    A sample is `memorised` if it is nearer to a training image than all but 1% of held-out images are to
    theirs: the comparison of Meehan et al. 2020 at the tail, where copies are. It is authentic if its nearest
    training image is nearer to another training image than to the sample (Alaa et al. 2022).

    Distances are between features of unit length. Images without content have features near 0, which are
    nearer to all others than real images are to each other.

    Args:
        training: features of the training images, float32 (M, D), M at least 3.
        held_out: features of held-out images, float32 (N, D), N at least 2; without them, the distances of
            training images to each other are used.
    """

    def __init__(self, training: Tensor, held_out: Tensor | None) -> None:
        self.training = F.normalize(training)
        if held_out is None:
            real = nearest(self.training, self.training, torch.arange(len(training)))
        else:
            real = nearest(F.normalize(held_out), self.training)
        # The bound comes from one half of the images, and the control from the other half.
        self.bound = real.distance[::2].quantile(SHARE).item()
        self.control = self._scores(Nearest(real.distance[1::2], real.place[1::2]))

    def find(self, samples: Tensor) -> tuple[dict[str, float], Nearest]:
        """Return the scores of samples, from their features (N, D), and the nearest training images."""
        found = nearest(F.normalize(samples), self.training)
        return self._scores(found), found

    def _scores(self, found: Nearest) -> dict[str, float]:
        there, places = torch.unique(found.place, return_inverse=True)
        own = nearest(self.training[there], self.training, there).distance[places]
        return {
            "memorised": (found.distance <= self.bound).float().mean().item(),
            "authenticity": (found.distance > own).float().mean().item(),
        }


def nearest(images: Tensor, training: Tensor, themselves: Tensor | None = None) -> Nearest:
    """Return the nearest training image of each image, by their features (N, D) and (M, D).

    Args:
        images: features of the images.
        training: features of the training images.
        themselves: the place of each image among the training images, (N,), which is left out.
    """
    squares = training.square().sum(1)
    distances, indices = [], []
    for places in torch.split(torch.arange(len(images)), SUBSET):
        part = images[places]
        apart = torch.addmm(squares, part, training.T, alpha=-2)
        if themselves is not None:
            apart[torch.arange(len(part)), themselves[places]] = torch.inf
        index = apart.argmin(1)
        # The distance itself is computed from the difference, because that of equal images must be 0.
        distances.append((part - training[index]).norm(dim=1))
        indices.append(index)
    return Nearest(torch.cat(distances), torch.cat(indices))
