"""Each loss against its formula, written out in NumPy."""

import math

import numpy as np
import pytest
import torch

from zoo.adversarial import ObjectiveName
from zoo.objectives import OBJECTIVES

REAL = np.array([[1.5], [-0.3], [0.2]])
FAKE = np.array([[-0.7], [0.9], [2.0]])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


LOSSES = {
    "non_saturating": (
        -np.log(sigmoid(FAKE)).mean(),
        -np.log(sigmoid(REAL)).mean() - np.log(1 - sigmoid(FAKE)).mean(),
    ),
    "minimax": (
        np.log(1 - sigmoid(FAKE)).mean(),
        -np.log(sigmoid(REAL)).mean() - np.log(1 - sigmoid(FAKE)).mean(),
    ),
    "least_squares": (
        0.5 * np.mean((FAKE - 1) ** 2),
        0.5 * np.mean((REAL - 1) ** 2) + 0.5 * np.mean(FAKE**2),
    ),
    "hinge": (
        -FAKE.mean(),
        np.maximum(0, 1 - REAL).mean() + np.maximum(0, 1 + FAKE).mean(),
    ),
    "wasserstein": (-FAKE.mean(), FAKE.mean() - REAL.mean()),
    "relativistic": (
        -np.log(sigmoid(FAKE - REAL)).mean(),
        -np.log(sigmoid(REAL - FAKE)).mean(),
    ),
}


def test_every_objective_has_a_flag_and_a_formula_here():
    assert set(OBJECTIVES) == set(ObjectiveName.__args__) == {*LOSSES, "softmax"}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_their_formulas(name):
    real, fake = torch.tensor(REAL), torch.tensor(FAKE)
    generator, discriminator = LOSSES[name]
    assert OBJECTIVES[name].generator(fake, lambda: real).item() == pytest.approx(generator)
    assert OBJECTIVES[name].discriminator(real, fake).item() == pytest.approx(discriminator)


def test_softmax_takes_real_for_class_one():
    scores = torch.tensor([[0.0, 2.0], [1.0, -1.0]])
    p_real = [math.exp(2) / (1 + math.exp(2)), math.exp(-1) / (math.exp(1) + math.exp(-1))]
    as_real = -sum(map(math.log, p_real)) / 2
    as_fake = -sum(math.log(1 - p) for p in p_real) / 2
    objective = OBJECTIVES["softmax"]
    assert objective.generator(scores, lambda: scores).item() == pytest.approx(as_real)
    assert objective.discriminator(scores, scores).item() == pytest.approx((as_real + as_fake) / 2)


@pytest.mark.parametrize("name", sorted(LOSSES.keys() - {"relativistic"}))
def test_only_relativistic_losses_score_real_examples_twice(name):
    def never():
        raise AssertionError("real examples were scored again")

    OBJECTIVES[name].generator(torch.tensor(FAKE), never)


@pytest.mark.parametrize("name", LOSSES)
def test_extreme_scores_give_finite_losses(name):
    real, fake = torch.full((2, 1), -1e4), torch.full((2, 1), 1e4)
    assert torch.isfinite(OBJECTIVES[name].discriminator(real, fake))
    assert torch.isfinite(OBJECTIVES[name].generator(-fake, lambda: -real))


UNDECIDED = {"least_squares": [[0.5]], "softmax": [[0.7, 0.7]]}
"""Scores of an undecided discriminator; 0 for the other objectives."""


@pytest.mark.parametrize("name", OBJECTIVES)
def test_margins_are_zero_where_the_discriminator_has_no_reason_to_decide(name):
    """If real and fake examples are the same, these scores have the least loss."""
    scores = torch.tensor(UNDECIDED.get(name, [[0.0]]), requires_grad=True)
    objective = OBJECTIVES[name]
    assert objective.margins(scores, scores).tolist() == [0]
    (gradient,) = torch.autograd.grad(objective.discriminator(scores, scores), scores)
    assert gradient.abs().max() == 0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_margins_rise_as_the_discriminator_learns_to_tell_real_examples(name):
    objective = OBJECTIVES[name]
    undecided = torch.tensor(UNDECIDED.get(name, [[0.0]])).repeat(3, 1)
    real = undecided.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(objective.discriminator(real, undecided), real)
    for sign, step in ((1, -0.1), (-1, 0.1)):
        margins = objective.margins(undecided + step * gradient, undecided)
        assert margins.sign().tolist() == [sign] * 3
