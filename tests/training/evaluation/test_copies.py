"""Copies must be found, and new draws of the same distribution must not."""

import pytest
import torch

from training.evaluation.copies import Copies, nearest


def draws(seed: int, size: int = 2000) -> torch.Tensor:
    return torch.randn(size, 16, generator=torch.Generator().manual_seed(seed))


TRAINING = draws(0)


@pytest.mark.parametrize("held_out", [draws(1), None], ids=["held out", "none held out"])
def test_copies_are_found_and_new_draws_are_not(held_out):
    copies = Copies(TRAINING, held_out)
    found, pairs = copies.find(TRAINING[:500])
    assert found == {"memorised": 1, "authenticity": 0}
    assert torch.equal(pairs.place, torch.arange(500))
    new, _ = copies.find(draws(2))
    for scores in (new, copies.control):
        assert scores["memorised"] < 0.03
        assert scores["authenticity"] == pytest.approx(0.5, abs=0.1)


def test_half_of_them_copies_with_a_little_noise_are_half():
    half = torch.cat([TRAINING[:500] + 0.05 * draws(3, 500), draws(2, 500)])
    scores, _ = Copies(TRAINING, draws(1)).find(half)
    assert scores["memorised"] == pytest.approx(0.5, abs=0.03)
    assert scores["authenticity"] == pytest.approx(0.5 / 2, abs=0.05)


def test_duplicates_in_the_training_data_do_not_hide_copies():
    """They make the bound 0 where none are held out."""
    twice = torch.cat([TRAINING, TRAINING[:200]])
    copies = Copies(twice, None)
    assert copies.bound == 0
    assert copies.find(TRAINING[:500])[0]["memorised"] == 1
    assert copies.find(draws(2))[0]["memorised"] == 0


def test_samples_without_content_are_no_copies():
    """Their features are near 0: nearer to every training image than held-out images are."""
    empty = 0.1 * draws(2)
    assert nearest(empty, TRAINING).distance.max() < nearest(draws(1), TRAINING).distance.median(), "control"
    assert Copies(TRAINING, draws(1)).find(empty)[0]["memorised"] < 0.03


def test_the_nearest_are_those_counted_by_hand():
    training = torch.tensor([[0.0], [3], [10]])
    found = nearest(torch.tensor([[1.0], [9], [3]]), training)
    assert (found.distance.tolist(), found.place.tolist()) == ([1, 1, 0], [0, 2, 1])
    others = nearest(training, training, torch.arange(3))
    assert (others.distance.tolist(), others.place.tolist()) == ([3, 3, 7], [1, 0, 1])
