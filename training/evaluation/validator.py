"""The validator: scores during training. It logs the headline score of `ganzoo evaluate`."""

import shlex
from collections.abc import Callable

import torch

from serving.runtime.pipeline import Pipeline
from training.data.transforms import Conversion
from training.evaluation.samples import open_scorer
from training.evaluation.translation.translations import open_translation_scorer
from training.run import checkpoint
from training.run.config import RunConfig
from training.run.scores import REFERENCE, Scores


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


def open_validator(config: RunConfig, pipeline: Pipeline, device: torch.device) -> Validator:
    """Open a validator that scores a run against its own dataset.

    Args:
        config: configuration of the run.
        pipeline: pipeline of the averaged generators.
        device: device of the feature extractor.

    Raises:
        UserError: the dataset can't be scored, or not in these features.
    """
    spec, n, shape = config.train.data, config.train.score_samples, config.entry.scored_shape
    conversion = Conversion(config.train.fit, config.value_range)
    features, against = config.train.score_features, config.trained_against
    match config.entry.task:
        case "sample":
            scorer = open_scorer(spec, shape, n, features, device, conversion, against)
            reference = scorer.reference[scorer.headline]
            samples = range(scorer.samples)
            return Validator(
                scorer.headline,
                reference,
                lambda: scorer.headline_score(some.values for some in pipeline.samples(samples)),
            )
        case "translate":
            translations = open_translation_scorer(
                spec, shape, n, features, device, conversion, against, config.entry.scale
            )
            return Validator(
                translations.headline,
                translations.reference,
                lambda: translations.headline_score(pipeline),
            )


def standing(config: RunConfig, scores: Scores) -> str:
    """Format the last score, the best score and the reference as text, and where the best checkpoint is."""
    best, last, run = scores.best, scores.last, shlex.quote(str(config.folder))
    is_kept = best.step in checkpoint.steps(config.folder / "checkpoints")
    return (
        f"{scores.name}: last {last.value:.4g}, best {best.value:.4g} at step {best.step}, last/best "
        f"{by(last.value, best.value):.3g}; real data {scores.reference:.4g}; "
        + (
            f"`ganzoo export {run} --checkpoint best` exports the best"
            if is_kept
            else "the best is not kept; --keep-best keeps it"
        )
    )


def by(last: float, best: float) -> float:
    """Return the last score divided by the best score. The best score may be 0."""
    return 1.0 if last == best else last / max(best, 1e-12)
