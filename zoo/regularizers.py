"""Regularizers: penalties on the discriminator's gradient with respect to its input.

Each regularizer is a function of (discriminator, real, fake) and returns a differentiable scalar. `real` and
`fake` are batches of the same size. The trainer multiplies the scalar by the entry's `regularizer_weight` and
adds it to the discriminator's loss.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Discriminator = Callable[[Tensor], Tensor]
"""A discriminator with its conditions already bound: examples (N, ...) to raw scores (N, score_size)."""

Regularizer = Callable[[Discriminator, Tensor, Tensor], Tensor]


def none(discriminator: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
    """Return 0: no penalty."""
    return real.new_zeros(())


def r1(discriminator: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
    """Return half the mean squared gradient norm at real examples (Mescheder et al. 2018, equation 9)."""
    return squared_gradients(discriminator, real).mean() / 2


def r2(discriminator: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
    """Return half the mean squared gradient norm at fake examples (Mescheder et al. 2018, equation 10)."""
    return squared_gradients(discriminator, fake).mean() / 2


def r1_r2(discriminator: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
    """Return the sum of R1 and R2 (Huang et al. 2024)."""
    return r1(discriminator, real, fake) + r2(discriminator, real, fake)


def gradient_penalty(discriminator: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
    """Return the mean squared distance of the gradient norm from 1 (Gulrajani et al. 2017).

    The gradient is taken at random points between pairs of real and fake examples.
    """
    place = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
    between = torch.lerp(real, fake, place)
    # The square root is not differentiable at 0.
    norms = (squared_gradients(discriminator, between) + 1e-12).sqrt()
    return (norms - 1).square().mean()


def squared_gradients(discriminator: Discriminator, examples: Tensor) -> Tensor:
    """Return the squared norm of the score's gradient at each example, (N,); the result is differentiable."""
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
