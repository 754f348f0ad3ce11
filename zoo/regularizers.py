"""Penalties on a discriminator's gradient with respect to its input, added to its loss.

Each is a function of (discriminator, real, fake) that gives a scalar to be differentiated once more; `real`
and `fake` are batches of one size. Their weight is the entry's.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Discriminator = Callable[[Tensor], Tensor]
"""A discriminator that knows everything but the examples: (N, ...) to raw scores (N, score_size)."""

Regularizer = Callable[[Discriminator, Tensor, Tensor], Tensor]


def none(discriminator: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
    """Penalise nothing."""
    return real.new_zeros(())


def r1(discriminator: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
    """Half the mean squared gradient at real examples (Mescheder et al. 2018, equation 9)."""
    return squared_gradients(discriminator, real).mean() / 2


def r2(discriminator: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
    """Half the mean squared gradient at fakes (Mescheder et al. 2018, equation 10)."""
    return squared_gradients(discriminator, fake).mean() / 2


def r1_r2(discriminator: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
    """Both, as Huang et al. 2024 have it."""
    return r1(discriminator, real, fake) + r2(discriminator, real, fake)


def gradient_penalty(discriminator: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
    """Mean squared distance of the gradient's norm from 1 between real and fake (Gulrajani et al. 2017)."""
    place = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
    between = torch.lerp(real, fake, place)
    # The square root has no derivative at 0.
    norms = (squared_gradients(discriminator, between) + 1e-12).sqrt()
    return (norms - 1).square().mean()


def squared_gradients(discriminator: Discriminator, examples: Tensor) -> Tensor:
    """Give the squared norm of the score's gradient at each example, (N,), itself differentiable."""
    examples = examples.detach().requires_grad_(True)
    scores = discriminator(examples)
    (gradients,) = torch.autograd.grad(scores.sum(), examples, create_graph=True)
    return gradients.flatten(1).square().sum(1)


REGULARIZERS: dict[str, Regularizer] = {
    "none": none,
    "gradient_penalty": gradient_penalty,
    "r1": r1,
    "r2": r2,
    "r1+r2": r1_r2,
}
