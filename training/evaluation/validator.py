"""A run scored as it goes: by the headline of what `ganzoo evaluate` would score it by in the end."""

from collections.abc import Callable

import torch

from serving.runtime.pipeline import Pipeline
from training.evaluation.samples import open_scorer
from training.evaluation.translations import open_translation_scorer
from training.run.config import RunConfig

REFERENCE = "_reference"
"""Suffix of the name under which a score's reference is logged."""


class Validator:
    """Scores generators as they learn, lower the better.

    Args:
        name: the score's.
        floor: what no generator can be expected to go below.
        score: measures the generators as they are.
    """

    def __init__(self, name: str, reference: float, score: Callable[[], float]) -> None:
        self.name, self.reference, self._score = name, reference, score

    def measure(self) -> dict[str, float]:
        """Give the score and its floor."""
        return {self.name: self._score(), self.name + REFERENCE: self.reference}

    def standing(self, history: list[tuple[int, float]]) -> str:
        """Say how the last score compares with the best and with the floor."""
        (at, best), (_, last) = min(history, key=lambda point: point[1]), history[-1]
        return (
            f"{self.name}: last {last:.4g}, best {best:.4g} at step {at}, last/best {by(last, best):.3g}; "
            f"real data {self.reference:.4g}"
        )


def open_validator(config: RunConfig, pipeline: Pipeline, device: torch.device) -> Validator:
    """Open what scores a run against its own data.

    Args:
        config: the run's.
        pipeline: its averaged generators.
        device: where features are extracted.

    Raises:
        UserError: there is nothing to score by.
    """
    spec, n, shape = config.train.data, config.train.score_samples, config.entry.scored_shape
    match config.entry.task:
        case "sample":
            scorer = open_scorer(spec, shape, n, "auto", device)
            reference = scorer.reference[scorer.headline]
            samples = range(scorer.samples)
            return Validator(
                scorer.headline, reference, lambda: scorer.headline_score(pipeline.draw(samples))
            )
        case "translate":
            translations = open_translation_scorer(spec, shape, n, "auto", device)
            return Validator(
                translations.headline,
                translations.reference,
                lambda: translations.headline_score(pipeline),
            )


def by(last: float, best: float) -> float:
    """Divide the last score by the best, which may be 0."""
    return 1.0 if last == best else last / max(best, 1e-12)
