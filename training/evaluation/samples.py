"""Scores of samples against data: by an extractor's features for images, by the truth for vectors."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from serving.arrays import Array
from serving.errors import UserError
from training.data.dataset import Dataset, open_data, read
from training.evaluation import metrics
from training.evaluation.features import Extractor, Seen, open_extractor
from training.graphs.pixels import to_pixels


class Scorer(Protocol):
    """Scores samples against one data set."""

    data: str
    """Name of the data."""

    labels: tuple[str, ...]
    """Their classes."""

    headline: str
    """The one score that is lower the better, by which a run is watched."""

    reference: dict[str, float]
    """The same scores of held-out data: what no generator can be expected to go below."""

    samples: int
    """How many samples it wants, as many as there are real ones beside them."""

    def describe(self) -> dict[str, str | float] | None:
        """Name what the scores are made with, None where nothing but the truth is."""
        ...

    def headline_score(self, samples: Iterable[Array]) -> float:
        """Give the headline alone."""
        ...

    def score(self, samples: Iterable[Array], told: Array | None = None) -> dict[str, float]:
        """Give every score; `told` are the classes that a conditional generator was told, (N,)."""
        ...


def open_scorer(spec: str, shape: tuple[int, ...], n: int, features: str, device: torch.device) -> Scorer:
    """Open what scores samples of a shape against data by spec.

    Args:
        spec: the data, as for a run; held-out data make the floor.
        shape: of a sample, (C, H, W) or (D,).
        n: how many samples to compare, if there are as many real ones.
        features: the extractor for images, as in `open_extractor`.
        device: where it runs.

    Raises:
        UserError: the data don't suit the shape, or there is nothing to score by.
        OSError: the data can't be read.
    """
    # Seed 0, whatever the run's: runs are compared by one yardstick.
    data = open_data(spec, shape, 0)
    if data.kind != "examples":
        raise UserError(f"{data.name} are for translations; samples are held against examples")
    if data.truth is not None:
        return VectorScorer(data, n)
    if len(shape) != 3:
        raise UserError(f"{data.name} are vectors of no known distribution: there is nothing to score by")
    return ImageScorer(data, open_extractor(features, data, shape, device), n)


class VectorScorer:
    """Holds vectors against the distribution that the data are drawn from."""

    def __init__(self, data: Dataset, n: int) -> None:
        assert data.truth is not None
        if n < 2:
            raise UserError(f"a distribution is told by two samples at least; got {n}")
        self.data, self.labels = data.name, data.labels
        self.truth, self.samples = data.truth, int(min(n, data.size))
        self.headline = data.truth.headline
        real = (batch["real"].numpy() for batch in read(data.held_out() or data, self.samples))
        self.reference = self.score(real)

    def describe(self) -> None:
        """Nothing but the truth."""

    def headline_score(self, samples: Iterable[Array]) -> float:
        """Give the headline."""
        return self.score(samples)[self.headline]

    def score(self, samples: Iterable[Array], told: Array | None = None) -> dict[str, float]:
        """Give the truth's own scores."""
        return self.truth.score(np.concatenate(list(samples)))


class Split(NamedTuple):
    """Real examples to compare with, and others to make the floor of."""

    real: Seen
    held_out: Seen


class ImageScorer:
    """Compares images with as many real ones in an extractor's features."""

    headline = "frechet"

    def __init__(self, data: Dataset, extractor: Extractor, n: int) -> None:
        self.data, self.labels, self.extractor = data.name, data.labels, extractor
        self.described = extractor.describe()
        self.real, held_out = self._look_at(data, n)
        self.samples = len(self.real.features)
        self.reference = self._compare(held_out)
        if "accuracy" in self.described:
            self.reference["label_accuracy"] = float(self.described["accuracy"])

    def _look_at(self, data: Dataset, n: int) -> Split:
        """See real and held-out examples; halves of the data where none are held out."""
        if (held_out := data.held_out()) is not None:
            count = _enough(data, min(n, data.size, held_out.size))
            return Split(self._see(_pixels(data, count)), self._see(_pixels(held_out, count)))
        count = _enough(data, min(n, data.size // 2))
        both = self._see(_pixels(data, 2 * count))
        return Split(_part(both, slice(count)), _part(both, slice(count, None)))

    def describe(self) -> dict[str, str | float]:
        """Name the extractor."""
        return self.described

    def headline_score(self, samples: Iterable[Array]) -> float:
        """Give the Fréchet distance."""
        return metrics.frechet(self.real.features, self._see(map(_nchw, samples)).features)

    def score(self, samples: Iterable[Array], told: Array | None = None) -> dict[str, float]:
        """Give the Fréchet and kernel distances, precision and its kin, and what classes it is taken for."""
        fake = self._see(map(_nchw, samples))
        scores = self._compare(fake)
        if told is not None and fake.classes is not None:
            scores["label_accuracy"] = (fake.classes == torch.from_numpy(told)).float().mean().item()
        return scores

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

    def _see(self, images: Iterable[Tensor]) -> Seen:
        seen = [self.extractor(part) for part in images]
        classes = [part.classes for part in seen if part.classes is not None]
        return Seen(torch.cat([part.features for part in seen]), torch.cat(classes) if classes else None)


def _part(seen: Seen, places: slice) -> Seen:
    return Seen(seen.features[places], None if seen.classes is None else seen.classes[places])


def _enough(data: Dataset, count: float) -> int:
    if count < 2 * metrics.NEIGHBOURS:
        raise UserError(f"{data.name}: {count:g} images are too few to compare; ask for more, or give more")
    return int(count)


def _pixels(data: Dataset, n: int) -> Iterator[Tensor]:
    for batch in read(data, n):
        yield to_pixels(batch["real"]).permute(0, 3, 1, 2)


def _nchw(samples: Array) -> Tensor:
    return torch.from_numpy(samples).permute(0, 3, 1, 2)
