"""Scores of translations of unpaired data whose held-out images have a ground truth, by their names."""

from serving.runtime.pipeline import Pipeline
from training.evaluation.translation.domains import DomainScorer
from training.evaluation.translation.translated import Scores
from training.evaluation.translation.truth import TruthScorer


class AlignedScorer:
    """Scorer of translations against the target domain, and of each against the truth that training hid.

    Args:
        domains: scorer against the target domain. Its score is the headline.
        truth: scorer against the ground truth.
    """

    def __init__(self, domains: DomainScorer, truth: TruthScorer) -> None:
        self.domains, self.truth = domains, truth
        self.data, self.samples = domains.data, domains.samples
        self.headline, self.reference = domains.headline, domains.reference
        self.controls = {
            name: domains.controls.get(name, {}) | truth.controls.get(name, {})
            for name in {**domains.controls, **truth.controls}
        }

    def describe(self) -> dict[str, str | float]:
        """Return the description of the extractor."""
        return self.domains.describe()

    def headline_score(self, pipeline: Pipeline) -> float:
        """Return the mean Fréchet distance over the directions."""
        return self.domains.headline_score(pipeline)

    def score(self, pipeline: Pipeline) -> Scores:
        """Return the scores against the target domain and against the ground truth."""
        return self.domains.score(pipeline) | self.truth.score(pipeline)
