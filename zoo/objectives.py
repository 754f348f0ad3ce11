"""Objectives: pairs of generator and discriminator losses over the discriminator's raw scores.

The discriminator's loss takes the scores of real and fake examples. The generator's loss takes the scores of
fake examples and a function that returns the scores of real examples. Only objectives that compare the two
call that function. Scores are (N, score_size). Losses are means over the batch. The margins of real examples,
(N,), are above 0 where the discriminator takes them for real.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


def _above_zero(real: Tensor, fake: Tensor) -> Tensor:
    return real[:, 0]


def _above_fake(real: Tensor, fake: Tensor) -> Tensor:
    """Compare real and fake examples in pairs, because adding a constant to all scores changes no loss."""
    return (real - fake)[:, 0]


class Objective(NamedTuple):
    """The losses of both players, the number of scores per example, and the margins of real examples."""

    generator: Callable[[Tensor, Callable[[], Tensor]], Tensor]
    discriminator: Callable[[Tensor, Tensor], Tensor]
    score_size: int = 1
    margins: Callable[[Tensor, Tensor], Tensor] = _above_zero

    @property
    def undecided(self) -> float:
        """The discriminator's loss when all scores, real and fake, are 0."""
        scores = torch.zeros(1, self.score_size)
        return self.discriminator(scores, scores).item()


def _cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    """Compute the binary cross-entropy of both sides; softplus(-s) is -log sigmoid(s)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def _two_class(scores: Tensor, target: int) -> Tensor:
    return F.cross_entropy(scores, torch.full((len(scores),), target, device=scores.device))


OBJECTIVES: dict[str, Objective] = {
    # Goodfellow 2014, section 3: the generator maximises log D(fake).
    "non_saturating": Objective(
        generator=lambda fake, real: F.softplus(-fake).mean(),
        discriminator=_cross_entropy,
    ),
    # Goodfellow 2014, equation 1: the generator minimises log(1 - D(fake)).
    "minimax": Objective(
        generator=lambda fake, real: -F.softplus(fake).mean(),
        discriminator=_cross_entropy,
    ),
    # Mao 2017, equation 9: targets 0 and 1.
    "least_squares": Objective(
        generator=lambda fake, real: (fake - 1).square().mean() / 2,
        discriminator=lambda real, fake: ((real - 1).square().mean() + fake.square().mean()) / 2,
        margins=lambda real, fake: real[:, 0] - 0.5,
    ),
    # Lim and Ye 2017.
    "hinge": Objective(
        generator=lambda fake, real: -fake.mean(),
        discriminator=lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(),
    ),
    # Arjovsky 2017.
    "wasserstein": Objective(
        generator=lambda fake, real: -fake.mean(),
        discriminator=lambda real, fake: fake.mean() - real.mean(),
        margins=_above_fake,
    ),
    # Jolicoeur-Martineau 2018, RpGAN: real and fake examples are compared in pairs.
    "relativistic": Objective(
        generator=lambda fake, real: F.softplus(real() - fake).mean(),
        discriminator=lambda real, fake: F.softplus(fake - real).mean(),
        margins=_above_fake,
    ),
    # Two-class softmax cross-entropy: real is class 1.
    "softmax": Objective(
        generator=lambda fake, real: _two_class(fake, 1),
        discriminator=lambda real, fake: (_two_class(real, 1) + _two_class(fake, 0)) / 2,
        score_size=2,
        margins=lambda real, fake: real[:, 1] - real[:, 0],
    ),
}
