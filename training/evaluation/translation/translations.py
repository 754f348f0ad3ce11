"""Scores of translations.

Images that a model enlarges are scored against the originals. Paired data are scored against the ground
truth. Unpaired data are scored against the target domain and, if the held-out images of both domains have
equal names, against their namesakes, too.
"""

import sys
from collections.abc import Collection
from typing import Protocol

import torch

from serving.errors import UserError
from serving.runtime.pipeline import Pipeline
from training.data.dataset import Dataset, open_data
from training.data.files.domains import ByDomain, Domains
from training.data.transforms import AS_USUAL, Conversion
from training.evaluation.features import open_extractor
from training.evaluation.translation.aligned import AlignedScorer
from training.evaluation.translation.domains import DomainScorer
from training.evaluation.translation.resolution import ResolutionScorer
from training.evaluation.translation.translated import Scores
from training.evaluation.translation.truth import TruthScorer
from zoo.entry import DomainShapes, SampleShape


class TranslationScorer(Protocol):
    """Scorer of translations on one dataset."""

    data: str
    """Name of the dataset."""

    samples: int
    """Number of images of each domain to translate."""

    headline: str
    """Name of the main score, averaged over the directions. The validator logs it. Lower is better."""

    reference: float
    """Reference of the headline score. A translation is not expected to score better."""

    controls: dict[str, Scores]
    """The same scores for baselines in place of the translations."""

    def describe(self) -> dict[str, str | float] | None:
        """Return the description of the extractor, or None if the ground truth is known."""
        ...

    def headline_score(self, pipeline: Pipeline) -> float:
        """Return only the headline score."""
        ...

    def score(self, pipeline: Pipeline) -> Scores:
        """Return every score. The keys are `DIRECTION_SCORE`."""
        ...


def open_translation_scorer(
    spec: str,
    shape: SampleShape,
    n: int,
    features: str,
    device: torch.device,
    conversion: Conversion = AS_USUAL,
    trained_against: Collection[str] = (),
    scale: int = 1,
) -> TranslationScorer:
    """Open a scorer of translations between the two domains of a dataset, or of enlarged images.

    Args:
        spec: the dataset, as for a run. Its held-out images are translated, if there are any.
        shape: shapes of the images of both domains, or one shape for both, (C, H, W); with a scale, that of
            the enlarged images.
        n: maximum number of images of each domain to translate.
        features: the extractor for unpaired data, as in `open_extractor`.
        device: device of the extractor.
        conversion: how the images of files become examples.
        trained_against: features that must not be used, because the model was trained against their networks.
        scale: height and width of the translations, in multiples of those of their sources.

    Raises:
        UserError: the dataset does not have two domains, or has them though images are enlarged; or it has
            too few images.
        OSError: the data can't be read.
    """
    data = open_data(spec, shape, 0, conversion)
    if scale > 1:
        return _open_resolution(data, shape, n, features, device, trained_against, scale)
    if data.kind == "examples":
        raise UserError(
            f"the data to score translations must be domains or pairs; {data.name} has {data.kind}"
        )
    held_out = data.held_out() or data
    if held_out.kind == "pairs":
        return TruthScorer(held_out, n)
    widest = max(DomainShapes.of(shape))  # by the channels, which come first
    extractor = open_extractor(features, ByDomain(data), widest, device, trained_against)
    domains = DomainScorer(data, extractor, n)
    aligned = held_out.aligned() if isinstance(held_out, Domains) and held_out is not data else None
    if aligned is None:
        return domains
    print(
        f"note: the {aligned.size:.0f} held-out images of each domain have equal names: translations are "
        "scored against their namesakes, too",
        file=sys.stderr,
    )
    return AlignedScorer(domains, TruthScorer(aligned, n, domains.see))


def _open_resolution(
    data: Dataset,
    shape: SampleShape,
    n: int,
    features: str,
    device: torch.device,
    trained_against: Collection[str],
    scale: int,
) -> ResolutionScorer:
    if data.kind != "examples":
        raise UserError(f"the data to score enlarged images must be examples; {data.name} has {data.kind}")
    extractor = None
    if features != "auto" or data.features not in trained_against:
        extractor = open_extractor(features, data, shape, device, trained_against)
    else:
        print(
            f"note: the model was trained against the features of {data.features}: images are compared by "
            "their pixels only",
            file=sys.stderr,
        )
    return ResolutionScorer(data.held_out() or data, scale, n, extractor)
