"""Scores of translations against the images of the target domain."""

import numpy as np
from torch import Tensor

from serving.arrays import Array
from serving.errors import UserError
from serving.runtime.pipeline import Pipeline
from training.data.dataset import Dataset
from training.evaluation import metrics
from training.evaluation.extractor import Extractor
from training.evaluation.translation.translated import (
    ENDS,
    Scores,
    cycle_of,
    ends_of,
    features_of,
    images_of,
    like,
    mean_of,
    named,
    translate,
)


class DomainScorer:
    """Scorer of translations against the target domain, in the features of an extractor.

    The controls are the untranslated source, in the channels of the target, and held-out images of the target
    domain. A useful translation scores better than the untranslated source. If only one domain is grey, the
    extractor gets its images repeated over the channels of the other one.
    """

    headline = "frechet"

    def __init__(self, data: Dataset, extractor: Extractor, n: int) -> None:
        self.extractor, held_out = extractor, data.held_out()
        self.data = held_out.name if held_out else data.name
        count = min(n, data.size, held_out.size) if held_out else min(n, data.size // 2)
        if count < metrics.NEIGHBOURS:
            raise UserError(
                f"{data.name}: a comparison needs at least {metrics.NEIGHBOURS} images of each domain; got "
                f"{count:g}; use more samples or more data"
            )
        self.samples = int(count)
        if held_out:
            known, self.sources = images_of(data, self.samples), images_of(held_out, self.samples)
        else:
            both = images_of(data, 2 * self.samples)
            known = {domain: images[: self.samples] for domain, images in both.items()}
            self.sources = {domain: images[self.samples :] for domain, images in both.items()}
        self.channels = max(images.shape[3] for images in known.values())
        self.targets = {"a2b": self.see(known["b"]), "b2a": self.see(known["a"])}
        self.controls: dict[str, Scores] = {"untranslated": {}, "real": {}}
        for direction, (source, target) in ENDS.items():
            untranslated = like(self.sources[source], self.sources[target])
            self.controls["untranslated"] |= self._compare(direction, untranslated)
            self.controls["real"] |= self._compare(direction, self.sources[target])
        self.reference = mean_of(self.controls["real"], self.headline)

    def describe(self) -> dict[str, str | float]:
        """Return the description of the extractor."""
        return self.extractor.describe()

    def headline_score(self, pipeline: Pipeline) -> float:
        """Return the mean Fréchet distance over the directions."""
        distances = []
        for direction in pipeline.inputs:
            source, _ = ends_of(direction)
            translated = translate(pipeline, direction, self.sources[source])
            distances.append(metrics.frechet(self.targets[direction], self.see(translated)))
        return float(np.mean(distances))

    def score(self, pipeline: Pipeline) -> Scores:
        """Return the Fréchet and kernel distances to the target domain, and the cycle L1 distance."""
        scores: Scores = {}
        for direction in pipeline.inputs:
            source, _ = ends_of(direction)
            images = self.sources[source]
            translated = translate(pipeline, direction, images)
            scores |= self._compare(direction, translated)
            cycle = cycle_of(pipeline, direction, images, translated)
            scores |= named(direction, {name: float(each.mean()) for name, each in cycle.items()})
        return scores

    def _compare(self, direction: str, images: Array) -> Scores:
        target, features = self.targets[direction], self.see(images)
        distances = {
            "frechet": metrics.frechet(target, features),
            "kernel": metrics.kernel(target, features),
        }
        return named(direction, distances)

    def see(self, images: Array) -> Tensor:
        """Return the features, (N, D), of images, uint8 (N, H, W, C)."""
        return features_of(self.extractor, images, self.channels)
