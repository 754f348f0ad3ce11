"""Penalties against discriminators whose gradient is known."""

import pytest
import torch
from torch import nn

from zoo.adversarial import RegularizerName
from zoo.regularizers import REGULARIZERS, Scored, squared_gradients


class Quadratic(nn.Module):
    """Score a |x|^2 / 2, whose gradient is a x."""

    def __init__(self, a: float = 3.0) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a))

    def forward(self, examples):
        return self.a * examples.flatten(1).square().sum(1, keepdim=True) / 2


REAL = torch.tensor([[[1.0, 2.0]], [[0.0, -2.0]]])  # |x|^2 is 5 and 4
FAKE = torch.tensor([[[3.0, 0.0]], [[1.0, 0.0]]])  # 9 and 1


def scored(discriminator: nn.Module, examples: torch.Tensor, differentiable: bool = False) -> Scored:
    examples = examples.clone().requires_grad_(differentiable)
    return Scored(examples, discriminator(examples))


def penalty(
    name: str, discriminator: nn.Module, real: torch.Tensor = REAL, fake: torch.Tensor = FAKE
) -> torch.Tensor:
    pair = (scored(discriminator, real), scored(discriminator, fake))
    return REGULARIZERS[name].penalty(discriminator, *pair)


def test_every_regularizer_has_a_flag():
    assert set(REGULARIZERS) == set(RegularizerName.__args__)


@pytest.mark.parametrize(("name", "value"), [("none", 0.0), ("r1", 20.25), ("r2", 22.5), ("r1+r2", 42.75)])
def test_values_are_those_of_the_known_gradient(name, value):
    """r1 is a^2 E|x|^2 / 2: 9 * 4.5 / 2 at the real examples, 9 * 5 / 2 at the fakes."""
    assert penalty(name, Quadratic()).item() == pytest.approx(value)


def test_the_penalty_is_differentiated_once_more():
    """The derivative of a^2 E|x|^2 / 2 by a is a E|x|^2."""
    discriminator = Quadratic()
    penalty("r1", discriminator).backward()
    assert discriminator.a.grad.item() == pytest.approx(3 * 4.5)


@pytest.mark.parametrize("slope", [0.5, 1.0, 4.0])
def test_gradient_penalty_is_the_distance_of_the_slope_from_one(slope):
    """A linear score has one slope everywhere, whatever lies between real and fake."""
    discriminator = nn.Sequential(nn.Flatten(), nn.Linear(2, 1))
    discriminator[1].weight.data = torch.tensor([[0.6 * slope, 0.8 * slope]])
    assert penalty("gradient_penalty", discriminator).item() == pytest.approx((slope - 1) ** 2, abs=1e-6)


def test_gradient_penalty_looks_between_real_and_fake():
    """On a segment from 0 to 1 in each coordinate |x| lies between 0 and the square root of 2."""
    real, fake = torch.zeros(500, 2), torch.ones(500, 2)
    norms = []

    class Spy(Quadratic):
        def forward(self, examples):
            norms.append(examples.detach().norm(dim=1))
            return super().forward(examples)

    penalty("gradient_penalty", Spy(), real, fake)
    seen = norms[-1]
    assert 0 <= seen.min() < 0.1
    assert 1.3 < seen.max() <= 2**0.5 + 1e-6


def test_gradient_penalty_survives_a_slope_of_zero():
    discriminator = nn.Sequential(nn.Flatten(), nn.Linear(2, 1))
    nn.init.zeros_(discriminator[1].weight)
    penalty("gradient_penalty", discriminator).backward()
    assert torch.isfinite(discriminator[1].weight.grad).all()


def test_a_penalty_of_a_frozen_discriminator_is_no_gradient_of_the_generator():
    """Fakes and real examples are cut off: a penalty never reaches the generator."""
    drawn = FAKE.clone().requires_grad_(True)
    discriminator = Quadratic()
    pair = (scored(discriminator, REAL), Scored(drawn.detach(), discriminator(drawn.detach())))
    REGULARIZERS["r2"].penalty(discriminator, *pair).backward()
    assert drawn.grad is None


@pytest.mark.parametrize("name", ["r1", "r2", "r1+r2"])
def test_scores_that_can_be_differentiated_are_not_computed_again(name):
    class Counting(Quadratic):
        runs = 0

        def forward(self, examples):
            self.runs += 1
            return super().forward(examples)

    again, shared = Counting(), Counting()
    apart = penalty(name, again)
    pair = [scored(shared, each, differentiable=True) for each in (REAL, FAKE)]
    together = REGULARIZERS[name].penalty(shared, *pair)
    assert (again.runs, shared.runs) == (2 + len(REGULARIZERS[name].at), 2)
    apart.backward()
    together.backward()
    assert (together, shared.a.grad) == (apart, again.a.grad)


def test_gradients_are_each_examples_own():
    assert squared_gradients(scored(Quadratic(1.0), REAL, differentiable=True)).tolist() == pytest.approx(
        [5.0, 4.0]
    )
