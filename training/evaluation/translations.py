"""Scores of translations.

Paired data are scored against the ground truth. Unpaired data are scored against the target domain.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from serving.arrays import Array
from serving.errors import UserError
from serving.runtime.pipeline import BACK, Pipeline
from serving.system.progress import progress
from training.data.dataset import Dataset, open_data, read
from training.data.files.domains import ByDomain
from training.data.transforms import AS_USUAL, Conversion, with_channels
from training.evaluation import metrics
from training.evaluation.extractor import Extractor
from training.evaluation.features import open_extractor
from training.graphs.pixels import as_served
from zoo.entry import DomainShapes, SampleShape

ENDS = {"a2b": ("a", "b"), "b2a": ("b", "a")}
"""Source and target domain of each direction."""

Scores = dict[str, float]


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
) -> TranslationScorer:
    """Open a scorer of translations between the two domains of a dataset.

    Args:
        spec: the dataset, as for a run. Its held-out images are translated, if there are any.
        shape: shapes of the images of both domains, or one shape for both, (C, H, W).
        n: maximum number of images of each domain to translate.
        features: the extractor for unpaired data, as in `open_extractor`.
        device: device of the extractor.
        conversion: how the images of files become examples.
        trained_against: features that must not be used, because the model was trained against their networks.

    Raises:
        UserError: the dataset does not have two domains, or has too few images.
        OSError: the data can't be read.
    """
    data = open_data(spec, shape, 0, conversion)
    if data.kind == "examples":
        raise UserError(
            f"the data to score translations must be domains or pairs; {data.name} has {data.kind}"
        )
    held_out = data.held_out() or data
    if held_out.kind == "pairs":
        return TruthScorer(held_out, n)
    widest = max(DomainShapes.of(shape))  # by the channels, which come first
    return DomainScorer(data, open_extractor(features, ByDomain(data), widest, device, trained_against), n)


class TruthScorer:
    """Scorer of translations against the ground truth of paired data.

    The controls are the untranslated source, in the channels of the target, and the source after the best
    affine colour transform. The images are read again at each call, in small batches, because they may not
    fit in memory.
    """

    headline, reference = "l1", 0.0

    def __init__(self, pairs: Dataset, n: int) -> None:
        if n < 1:
            raise UserError(f"n must be at least 1; got {n}")
        self.pairs, self.data, self.samples = pairs, pairs.name, int(min(n, pairs.size))
        self.controls: dict[str, Scores] = {"untranslated": {}, "recoloured": {}}
        for direction in ENDS:
            ends = partial(self._ends, direction)
            recolour = metrics.best_recolouring((_unit(source), _unit(truth)) for source, truth in ends())
            plain = _averaged(
                metrics.likeness(_unit(_like(source, truth)), _unit(truth)) for source, truth in ends()
            )
            dyed = _averaged(metrics.likeness(recolour(_unit(it)), _unit(truth)) for it, truth in ends())
            self.controls["untranslated"] |= _named(direction, plain)
            self.controls["recoloured"] |= _named(direction, dyed)

    def _ends(self, direction: str) -> Iterator[tuple[Array, Array]]:
        """Yield source images and their ground truth, in small batches."""
        source, target = _must_be_known(direction)
        for batch in read(self.pairs, self.samples, CHUNK):
            yield as_served(batch[source]), as_served(batch[target])

    def describe(self) -> None:
        """Return None, because no extractor is used."""

    def headline_score(self, pipeline: Pipeline) -> float:
        """Return the mean L1 distance."""
        distances = [
            {"l1": (_unit(pipeline.translate(source, direction)) - _unit(truth)).abs().mean((1, 2, 3))}
            for direction in pipeline.inputs
            for source, truth in self._ends(direction)
        ]
        return _averaged(distances)["l1"]

    def score(self, pipeline: Pipeline) -> Scores:
        """Return the L1 distance, PSNR and SSIM to the ground truth, and the cycle L1 distance."""
        scores: Scores = {}
        for direction in pipeline.inputs:
            parts = []
            with progress(self.samples, f"translating {direction}", "images") as advance:
                for source, truth in self._ends(direction):
                    translated = pipeline.translate(source, direction)
                    likeness = metrics.likeness(_unit(translated), _unit(truth))
                    parts.append(likeness | _cycle(pipeline, direction, source, translated))
                    for _ in source:
                        advance()
            scores |= _named(direction, _averaged(parts))
        return scores


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
            known, self.sources = _images(data, self.samples), _images(held_out, self.samples)
        else:
            both = _images(data, 2 * self.samples)
            known = {domain: images[: self.samples] for domain, images in both.items()}
            self.sources = {domain: images[self.samples :] for domain, images in both.items()}
        self.channels = max(images.shape[3] for images in known.values())
        self.targets = {"a2b": self._see(known["b"]), "b2a": self._see(known["a"])}
        self.controls: dict[str, Scores] = {"untranslated": {}, "real": {}}
        for direction, (source, target) in ENDS.items():
            untranslated = _like(self.sources[source], self.sources[target])
            self.controls["untranslated"] |= self._compare(direction, untranslated)
            self.controls["real"] |= self._compare(direction, self.sources[target])
        self.reference = _mean(self.controls["real"], self.headline)

    def describe(self) -> dict[str, str | float]:
        """Return the description of the extractor."""
        return self.extractor.describe()

    def headline_score(self, pipeline: Pipeline) -> float:
        """Return the mean Fréchet distance over the directions."""
        distances = []
        for direction in pipeline.inputs:
            source, _ = _must_be_known(direction)
            translated = _translate(pipeline, direction, self.sources[source])
            distances.append(metrics.frechet(self.targets[direction], self._see(translated)))
        return float(np.mean(distances))

    def score(self, pipeline: Pipeline) -> Scores:
        """Return the Fréchet and kernel distances to the target domain, and the cycle L1 distance."""
        scores: Scores = {}
        for direction in pipeline.inputs:
            source, _ = _must_be_known(direction)
            images = self.sources[source]
            translated = _translate(pipeline, direction, images)
            scores |= self._compare(direction, translated)
            cycle = _cycle(pipeline, direction, images, translated)
            scores |= _named(direction, {name: float(each.mean()) for name, each in cycle.items()})
        return scores

    def _compare(self, direction: str, images: Array) -> Scores:
        target, features = self.targets[direction], self._see(images)
        distances = {
            "frechet": metrics.frechet(target, features),
            "kernel": metrics.kernel(target, features),
        }
        return _named(direction, distances)

    def _see(self, images: Array) -> Tensor:
        parts = torch.split(torch.from_numpy(images).permute(0, 3, 1, 2), CHUNK)
        return torch.cat([self.extractor(with_channels(part, self.channels)).features for part in parts])


CHUNK = 16
"""Number of images in a translation batch."""


def _translate(pipeline: Pipeline, direction: str, images: Array) -> Array:
    """Translate images, uint8 (N, H, W, C), in batches of at most `CHUNK`."""
    parts = np.array_split(images, math.ceil(len(images) / CHUNK))
    return np.concatenate([pipeline.translate(part, direction) for part in parts])


def _cycle(pipeline: Pipeline, direction: str, images: Array, translated: Array) -> dict[str, Tensor]:
    """Return the L1 distance between each image and its translation to the other domain and back, (N,).

    The result is empty if the pipeline has no reverse direction.
    """
    if BACK[direction] not in pipeline.inputs:
        return {}
    back = _translate(pipeline, BACK[direction], translated)
    return {"cycle": (_unit(back) - _unit(images)).abs().mean((1, 2, 3))}


def _averaged(parts: Iterable[Mapping[str, Tensor]]) -> Scores:
    """Return the mean of each score over all images. Each part has one value per image, (N,)."""
    gathered: dict[str, list[Tensor]] = {}
    for part in parts:
        for name, values in part.items():
            gathered.setdefault(name, []).append(values)
    return {name: torch.cat(values).mean().item() for name, values in gathered.items()}


def _must_be_known(direction: str) -> tuple[str, str]:
    """Return the source and target domain of a direction.

    Raises:
        UserError: the direction is neither a2b nor b2a.
    """
    if direction not in ENDS:
        raise UserError(f"the direction of a scored translation must be a2b or b2a; got {direction}")
    return ENDS[direction]


def _images(data: Dataset, n: int) -> dict[str, Array]:
    """Read n images of each domain: `a` and `b`, uint8 (N, H, W, C) each."""
    parts = [{domain: as_served(batch[domain]) for domain in ("a", "b")} for batch in read(data, n)]
    return {domain: np.concatenate([part[domain] for part in parts]) for domain in ("a", "b")}


def _like(images: Array, others: Array) -> Array:
    """Return images, uint8 (N, H, W, C), in the channels of others, as `with_channels` converts them."""
    converted = with_channels(torch.from_numpy(images).permute(0, 3, 1, 2), others.shape[3])
    same: Array = converted.permute(0, 2, 3, 1).numpy()
    return same


def _unit(images: Array) -> Tensor:
    """Convert uint8 (N, H, W, C) to float32 (N, C, H, W) in [0, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def _named(direction: str, scores: Scores) -> Scores:
    return {f"{direction}_{name}": value for name, value in scores.items()}


def _mean(scores: Scores, name: str) -> float:
    """Return the mean of a score over the directions."""
    return float(np.mean([value for key, value in scores.items() if key.endswith(f"_{name}")]))
