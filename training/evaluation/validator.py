"""The validator: scores during training. It logs the headline score of `ganzoo evaluate`."""

from collections.abc import Callable

import torch

from serving.runtime.pipeline import Pipeline
from training.data.transforms import Conversion
from training.evaluation.samples import open_scorer
from training.evaluation.translations import open_translation_scorer
from training.run.config import RunConfig

REFERENCE = "_reference"
"""Suffix of the name under which a score's reference is logged."""


class Validator:
    """Scorer of the generators during training. Lower is better.

    Args:
        name: name of the score.
        reference: score of real data. A generator is not expected to score better.
        score: function that returns the current score of the generators.
    """

    def __init__(self, name: str, reference: float, score: Callable[[], float]) -> None:
        self.name, self.reference, self._score = name, reference, score

    def measure(self) -> dict[str, float]:
        """Return the score and its reference."""
        return {self.name: self._score(), self.name + REFERENCE: self.reference}

    def standing(self, history: list[tuple[int, float]]) -> str:
        """Format the last score, the best score and the reference as text."""
        (at, best), (_, last) = min(history, key=lambda point: point[1]), history[-1]
        return (
            f"{self.name}: last {last:.4g}, best {best:.4g} at step {at}, last/best {by(last, best):.3g}; "
            f"real data {self.reference:.4g}"
        )


def open_validator(config: RunConfig, pipeline: Pipeline, device: torch.device) -> Validator:
    """Open a validator that scores a run against its own dataset.

    Args:
        config: configuration of the run.
        pipeline: pipeline of the averaged generators.
        device: device of the feature extractor.

    Raises:
        UserError: the dataset can't be scored.
    """
    spec, n, shape = config.train.data, config.train.score_samples, config.entry.scored_shape
    conversion = Conversion(config.train.fit, config.value_range)
    match config.entry.task:
        case "sample":
            scorer = open_scorer(spec, shape, n, "auto", device, conversion)
            reference = scorer.reference[scorer.headline]
            samples = range(scorer.samples)
            return Validator(
                scorer.headline,
                reference,
                lambda: scorer.headline_score(some.values for some in pipeline.samples(samples)),
            )
        case "translate":
            translations = open_translation_scorer(spec, shape, n, "auto", device, conversion)
            return Validator(
                translations.headline,
                translations.reference,
                lambda: translations.headline_score(pipeline),
            )


def by(last: float, best: float) -> float:
    """Return the last score divided by the best score. The best score may be 0."""
    return 1.0 if last == best else last / max(best, 1e-12)
