"""Scores of generated samples.

Images are compared in the features of an extractor. Vectors are compared with the known distribution.
"""

import math
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from serving.arrays import Array
from serving.errors import UserError
from training.data.dataset import READ, Dataset, open_data, read
from training.data.transforms import AS_USUAL, Conversion
from training.evaluation import metrics
from training.evaluation.copies import Copies
from training.evaluation.extractor import Extractor, Seen
from training.evaluation.feature_cache import cached
from training.evaluation.features import open_extractor
from training.graphs.pixels import to_pixels

PAIRS = 12
"""Number of pairs of samples and training images to show."""

MOST_TRAINING = 100_000
"""Number of training images among which copies are searched for: the first ones of an epoch."""


class Pairs(NamedTuple):
    """Samples that are nearest to training images, the nearest first."""

    samples: list[int]
    """Places of the samples."""

    training: Array
    """The training image of each, uint8 (N, H, W, C)."""


class Scored(NamedTuple):
    """Scores of samples."""

    scores: dict[str, float]
    nearest: Pairs | None = None
    """The samples that are nearest to training images, if the training images are known."""


class Scorer(Protocol):
    """Scorer of samples against one dataset."""

    data: str
    """Name of the dataset."""

    labels: tuple[str, ...]
    """Class names of the dataset."""

    headline: str
    """Name of the main score, which the validator logs. Lower is better."""

    reference: dict[str, float]
    """The same scores for held-out data. A generator is not expected to score better."""

    samples: int
    """Number of samples to score. It equals the number of real examples."""

    def describe(self) -> dict[str, str | float] | None:
        """Return the description of the extractor, or None if the distribution is known."""
        ...

    def headline_score(self, samples: Iterable[Array]) -> float:
        """Return only the headline score."""
        ...

    def score(self, samples: Iterable[Array], told: Array | None = None) -> Scored:
        """Return every score. `told` are the input classes of a conditional generator, (N,)."""
        ...


def open_scorer(
    spec: str,
    shape: tuple[int, ...],
    n: int,
    features: str,
    device: torch.device,
    conversion: Conversion = AS_USUAL,
    trained_against: Collection[str] = (),
) -> Scorer:
    """Open a scorer of samples against a dataset.

    Args:
        spec: the dataset, as for a run. Its held-out data are the reference.
        shape: shape of a sample, (C, H, W) or (D,).
        n: maximum number of samples to compare. It is limited by the number of real examples.
        features: the extractor for images, as in `open_extractor`.
        device: device of the extractor.
        conversion: how the images of files become examples.
        trained_against: features that must not be used, because the model was trained against their networks.

    Raises:
        UserError: the dataset does not have this shape, or it can't be scored.
        OSError: the data can't be read.
    """
    # Use seed 0 for every run, so that the scores of runs are comparable.
    data = open_data(spec, shape, 0, conversion)
    if data.kind != "examples":
        raise UserError(f"the data to score samples must be examples; {data.name} has {data.kind}")
    if data.truth is not None:
        return VectorScorer(data, n)
    if len(shape) != 3:
        raise UserError(f"vectors need a known distribution to be scored; {data.name} has none")
    return ImageScorer(data, open_extractor(features, data, shape, device, trained_against), n)


class VectorScorer:
    """Scorer of vectors against the known distribution of the dataset."""

    def __init__(self, data: Dataset, n: int) -> None:
        assert data.truth is not None
        if n < 2:
            raise UserError(f"the number of samples must be at least 2; got {n}")
        self.data, self.labels = data.name, data.labels
        self.truth, self.samples = data.truth, int(min(n, data.size))
        self.headline = data.truth.headline
        real = (batch["real"].numpy() for batch in read(data.held_out() or data, self.samples))
        self.reference = self.score(real).scores

    def describe(self) -> None:
        """Return None, because no extractor is used."""

    def headline_score(self, samples: Iterable[Array]) -> float:
        """Return the headline score."""
        return self.score(samples).scores[self.headline]

    def score(self, samples: Iterable[Array], told: Array | None = None) -> Scored:
        """Return the scores of the known distribution."""
        return Scored(self.truth.score(np.concatenate(list(samples))))


class Split(NamedTuple):
    """Real examples to compare with, and examples for the reference."""

    real: Seen
    others: Seen
    held_out: bool
    """Whether the others are held out, and not examples of the same data."""


class ImageScorer:
    """Scorer of images against an equal number of real images, in the features of an extractor."""

    headline = "frechet"

    def __init__(self, data: Dataset, extractor: Extractor, n: int) -> None:
        self.data, self.labels, self.extractor, self._training = data.name, data.labels, extractor, data
        self._cached, self.described = cached(extractor), extractor.describe()
        self.real, self._others, self._held_out = self._look_at(data, n)
        self.samples = len(self.real.features)
        self.reference = self._compare(self._others)
        if "accuracy" in self.described:
            self.reference["label_accuracy"] = float(self.described["accuracy"])

    def _look_at(self, data: Dataset, n: int) -> Split:
        """Extract the features of real and held-out examples.

        A dataset without held-out data is split in half.
        """
        if (held_out := data.held_out()) is not None:
            count = _enough(data, min(n, data.size, held_out.size))
            return Split(self._see_data(data, count), self._see_data(held_out, count), True)
        count = _enough(data, min(n, data.size // 2))
        both = self._see_data(data, 2 * count)
        return Split(_part(both, slice(count)), _part(both, slice(count, None)), False)

    def describe(self) -> dict[str, str | float]:
        """Return the description of the extractor."""
        return self.described

    def headline_score(self, samples: Iterable[Array]) -> float:
        """Return the Fréchet distance."""
        return metrics.frechet(self.real.features, _see(self.extractor, map(_nchw, samples)).features)

    def score(self, samples: Iterable[Array], told: Array | None = None) -> Scored:
        """Return every score.

        The scores are the Fréchet and kernel distances, precision, recall, density and coverage. An extractor
        that classifies adds the class histogram and, for conditional generators, the label accuracy. A finite
        dataset adds the shares of memorised and of authentic samples.
        """
        fake = _see(self.extractor, map(_nchw, samples))
        scores = self._compare(fake)
        if told is not None and fake.classes is not None:
            scores["label_accuracy"] = (fake.classes == torch.from_numpy(told)).float().mean().item()
        if math.isinf(self._training.size):
            return Scored(scores)
        copied, found = self._copies.find(fake.features)
        self.reference |= self._copies.control
        first = found.distance.argsort()[:PAIRS]
        return Scored(scores | copied, Pairs(first.tolist(), _images_at(self._training, found.place[first])))

    @cached_property
    def _copies(self) -> Copies:
        """Return the detector of copies. It extracts the features of the training images."""
        count = int(min(self._training.size, MOST_TRAINING))
        training = self._see_data(self._training, count).features
        return Copies(training, self._others.features if self._held_out else None)

    def _compare(self, fake: Seen) -> dict[str, float]:
        real = self.real.features
        scores = {
            "frechet": metrics.frechet(real, fake.features),
            "kernel": metrics.kernel(real, fake.features),
            **metrics.neighbourhoods(real, fake.features),
        }
        if fake.classes is not None:
            scores |= metrics.histogram(fake.classes, self.extractor.classes)
        return scores

    def _see_data(self, data: Dataset, count: int) -> Seen:
        return _see(self._cached, _pixels(data, count))


def _see(extractor: Extractor, images: Iterable[Tensor]) -> Seen:
    seen = [extractor(part) for part in images]
    classes = [part.classes for part in seen if part.classes is not None]
    return Seen(torch.cat([part.features for part in seen]), torch.cat(classes) if classes else None)


def _part(seen: Seen, places: slice) -> Seen:
    return Seen(seen.features[places], None if seen.classes is None else seen.classes[places])


def _enough(data: Dataset, count: float) -> int:
    if count < 2 * metrics.NEIGHBOURS:
        raise UserError(
            f"{data.name}: a comparison needs at least {2 * metrics.NEIGHBOURS} images; got {count:g}; use "
            "more samples or more data"
        )
    return int(count)


def _pixels(data: Dataset, n: int) -> Iterator[Tensor]:
    for batch in read(data, n):
        yield to_pixels(batch["real"]).permute(0, 3, 1, 2)


def _images_at(data: Dataset, places: Tensor) -> Array:
    """Return images by their places in the order that `read` has: uint8 (N, H, W, C)."""
    batches = {step: data.batch(step, READ)["real"] for step in {place // READ for place in places.tolist()}}
    images = [batches[place // READ][place % READ] for place in places.tolist()]
    return to_pixels(torch.stack(images)).cpu().numpy()


def _nchw(samples: Array) -> Tensor:
    return torch.from_numpy(samples).permute(0, 3, 1, 2)
