"""The course of a run at a cost: CPU seconds, and scores at parts of the budget."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from serving.arrays import Array
from serving.runtime.pipeline import Pipeline

PARTS = 3
"""Number of scores of a run, evenly spaced over its budget."""

Judge = Callable[[Pipeline, bool], tuple[dict[str, Any], Array]]
"""Scores a model, before the end or at it, and draws a picture of what it does."""


class Course:
    """CPU seconds of this process since the start, without those spent on scores.

    Args:
        budget: CPU seconds until the end.
        judge: scores the model.
    """

    def __init__(self, budget: float, judge: Judge) -> None:
        self.budget, self.judge = budget, judge
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

    def look(self, pipeline: Pipeline) -> None:
        """Score the model if the next part of the budget is spent."""
        if self.spent < self.budget * (len(self.history) + 1) / PARTS:
            return
        spent = self.spent
        with self.paused():
            is_end = len(self.history) == PARTS - 1
            scores, self.picture = self.judge(pipeline, is_end)
            self.history.append({"cpu": spent, **scores})

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Count nothing within the block, and leave torch's random numbers as they were."""
        before, random = time.process_time(), torch.get_rng_state()
        yield
        torch.set_rng_state(random)
        self._start += time.process_time() - before
