"""Regularizers: penalties on the discriminator's gradient with respect to its input.

The trainer multiplies a penalty by the entry's `regularizer_weight` and adds it to the discriminator's loss.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Discriminator = Callable[[Tensor], Tensor]
"""A discriminator with its conditions already bound: examples (N, ...) to raw scores (N, score_size)."""


class Scored(NamedTuple):
    """Examples (N, ...) and their scores (N, score_size), as the discriminator's loss uses them."""

    examples: Tensor
    scores: Tensor


class Regularizer(NamedTuple):
    """A penalty, and where it takes the gradient."""

    penalty: Callable[[Discriminator, Scored, Scored], Tensor]
    """Function of the discriminator, real and fake examples, which are equally many, that returns a
    differentiable scalar."""

    at: tuple[Literal["real", "fake"], ...] = ()
    """Examples at which the penalty takes the gradient of the scores. If these examples require a gradient
    when they are scored for the loss, the discriminator is not run again."""


def none(discriminator: Discriminator, real: Scored, fake: Scored) -> Tensor:
    """Return 0: no penalty."""
    return real.examples.new_zeros(())


def r1(discriminator: Discriminator, real: Scored, fake: Scored) -> Tensor:
    """Return half the mean squared gradient norm at real examples (Mescheder et al. 2018, equation 9)."""
    return squared_gradients(_differentiable(discriminator, real)).mean() / 2


def r2(discriminator: Discriminator, real: Scored, fake: Scored) -> Tensor:
    """Return half the mean squared gradient norm at fake examples (Mescheder et al. 2018, equation 10)."""
    return squared_gradients(_differentiable(discriminator, fake)).mean() / 2


def r1_r2(discriminator: Discriminator, real: Scored, fake: Scored) -> Tensor:
    """Return the sum of R1 and R2 (Huang et al. 2024)."""
    return r1(discriminator, real, fake) + r2(discriminator, real, fake)


def gradient_penalty(discriminator: Discriminator, real: Scored, fake: Scored) -> Tensor:
    """Return the mean squared distance of the gradient norm from 1 (Gulrajani et al. 2017).

    The gradient is taken at random points between pairs of real and fake examples.
    """
    examples = real.examples.detach()
    place = torch.rand(len(examples), *[1] * (examples.ndim - 1), device=examples.device)
    between = torch.lerp(examples, fake.examples.detach(), place)
    # The square root is not differentiable at 0.
    norms = (squared_gradients(_scored_again(discriminator, between)) + 1e-12).sqrt()
    return (norms - 1).square().mean()


def squared_gradients(scored: Scored) -> Tensor:
    """Return the squared norm of the score's gradient at each example, (N,); the result is differentiable.

    The examples must have required a gradient when they were scored.
    """
    (gradients,) = torch.autograd.grad(scored.scores.sum(), scored.examples, create_graph=True)
    return gradients.flatten(1).square().sum(1)


def _differentiable(discriminator: Discriminator, scored: Scored) -> Scored:
    return scored if scored.examples.requires_grad else _scored_again(discriminator, scored.examples)


def _scored_again(discriminator: Discriminator, examples: Tensor) -> Scored:
    examples = examples.detach().requires_grad_(True)
    return Scored(examples, discriminator(examples))


REGULARIZERS: dict[str, Regularizer] = {
    "none": Regularizer(none),
    "gradient_penalty": Regularizer(gradient_penalty),
    "r1": Regularizer(r1, at=("real",)),
    "r2": Regularizer(r2, at=("fake",)),
    "r1+r2": Regularizer(r1_r2, at=("real", "fake")),
}
