"""The course of a run at a cost: CPU seconds, and scores at parts of the budget."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from serving.arrays import Array
from serving.imaging.sheets import sheet
from training.evaluation.samples import Scorer

PARTS = 3
"""Number of scores of a run, evenly spaced over its budget."""

SCORES = ("frechet", "kernel", "precision", "recall")

Draw = Callable[[int], Iterable[Array]]
"""Draws a number of samples in batches: uint8 (N, H, W, C)."""


class Course:
    """CPU seconds of this process since the start, without those spent on scores.

    Args:
        budget: CPU seconds until the end.
        scorers: scorers of the samples, by the names of their features.
    """

    def __init__(self, budget: float, scorers: dict[str, Scorer]) -> None:
        self.budget, self.scorers = budget, scorers
        self.history: list[dict[str, Any]] = []
        self.picture: Array | None = None
        self.restart()

    def restart(self) -> None:
        """Begin to count."""
        self._start = time.process_time()

    @property
    def spent(self) -> float:
        """CPU seconds that the training took so far."""
        return time.process_time() - self._start

    @property
    def over(self) -> bool:
        """Whether the last score is taken."""
        return len(self.history) == PARTS

    def look(self, draw: Draw) -> None:
        """Score the samples if the next part of the budget is spent.

        Args:
            draw: draws the samples.
        """
        if self.spent < self.budget * (len(self.history) + 1) / PARTS:
            return
        spent = self.spent
        with self.paused():
            count = max(scorer.samples for scorer in self.scorers.values())
            samples = np.concatenate(list(draw(count)))[:count]
            found = {name: scorer.score([samples]).scores for name, scorer in self.scorers.items()}
            self.history.append({"cpu": spent, **{name: chosen(each) for name, each in found.items()}})
            self.picture = sheet(samples[:80], columns=10)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Count nothing within the block, and leave torch's random numbers as they were."""
        before, random = time.process_time(), torch.get_rng_state()
        yield
        torch.set_rng_state(random)
        self._start += time.process_time() - before


def chosen(scores: dict[str, float]) -> dict[str, float]:
    """Return the scores of the table."""
    return {name: scores[name] for name in SCORES}
