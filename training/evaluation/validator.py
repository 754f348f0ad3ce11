"""A run scored as it goes: by the headline of what `ganzoo evaluate` would score it by in the end."""

from collections.abc import Callable

import torch

from serving.runtime.pipeline import Pipeline
from training.evaluation.samples import open_scorer
from training.evaluation.translations import open_translation_scorer
from training.run.config import Card

FLOOR = "_floor"
"""Suffix of the name under which a score's floor is logged."""


class Yardstick:
    """Scores generators as they learn, lower the better.

    Args:
        name: the score's.
        floor: what no generator can be expected to go below.
        score: measures the generators as they are.
    """

    def __init__(self, name: str, floor: float, score: Callable[[], float]) -> None:
        self.name, self.floor, self._score = name, floor, score

    def measure(self) -> dict[str, float]:
        """Give the score and its floor."""
        return {self.name: self._score(), self.name + FLOOR: self.floor}

    def standing(self, history: list[tuple[int, float]]) -> str:
        """Say how the last score compares with the best and with the floor."""
        (at, best), (_, last) = min(history, key=lambda point: point[1]), history[-1]
        return (
            f"{self.name}: last {last:.4g}, best {best:.4g} at step {at}, last/best {by(last, best):.3g}; "
            f"real data {self.floor:.4g}"
        )


def open_yardstick(card: Card, graphs: Pipeline, device: torch.device) -> Yardstick:
    """Make what scores a run by its own data.

    Args:
        card: the run's.
        graphs: its averaged generators.
        device: where features are extracted.

    Raises:
        ValueError: there is nothing to score by.
    """
    spec, n, shape = card.run.data, card.run.score_samples, card.entry.scored_shape
    match card.entry.task:
        case "sample":
            scorer = open_scorer(spec, shape, n, "auto", device)
            floor = scorer.floor[scorer.headline]
            samples = range(scorer.samples)
            return Yardstick(scorer.headline, floor, lambda: scorer.watch(graphs.draw(samples)))
        case "translate":
            judge = open_translation_scorer(spec, shape, n, "auto", device)
            return Yardstick(judge.headline, judge.floor, lambda: judge.watch(graphs))


def by(last: float, best: float) -> float:
    """Divide the last score by the best, which may be 0."""
    return 1.0 if last == best else last / max(best, 1e-12)
