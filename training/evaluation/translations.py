"""Scores of translations: by their truth where it is known, else by the domain they are to be taken for."""

import math
from collections.abc import Iterable, Iterator, Mapping
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
from training.data.domains import ByDomain
from training.evaluation import metrics
from training.evaluation.features import Extractor, open_extractor
from training.graphs.pixels import as_served

ENDS = {"a2b": ("a", "b"), "b2a": ("b", "a")}
"""The domains that each direction translates from and to."""

Scores = dict[str, float]


class TranslationScorer(Protocol):
    """Scores translations of one data set."""

    data: str
    """Name of the data."""

    samples: int
    """How many images of either domain are translated."""

    headline: str
    """The one score that is lower the better, by which a run is watched: the mean over the directions."""

    reference: float
    """What the headline can't be expected to go below."""

    controls: dict[str, Scores]
    """The same scores of something else in the translations' place."""

    def describe(self) -> dict[str, str | float] | None:
        """Name what the scores are made with, None where nothing but the truth is."""
        ...

    def headline_score(self, pipeline: Pipeline) -> float:
        """Give the headline alone."""
        ...

    def score(self, pipeline: Pipeline) -> Scores:
        """Give every score, `DIRECTION_SCORE` each."""
        ...


def open_translation_scorer(
    spec: str, shape: tuple[int, ...], n: int, features: str, device: torch.device
) -> TranslationScorer:
    """Open what scores translations between two domains by spec.

    Args:
        spec: the data, as for a run; what is translated is held out, where anything is.
        shape: of an image, (C, H, W).
        n: how many images of either domain to translate, if there are as many.
        features: the extractor, as in `open_extractor`, where the truth is not known.
        device: where it runs.

    Raises:
        UserError: the data are no domains, or too few.
        OSError: the data can't be read.
    """
    data = open_data(spec, shape, 0)
    if data.kind == "examples":
        raise UserError(f"{data.name} are examples; a translation is scored by two domains")
    held_out = data.held_out() or data
    if held_out.kind == "pairs":
        return TruthScorer(held_out, n)
    return DomainScorer(data, open_extractor(features, ByDomain(data), shape, device), n)


class TruthScorer:
    """Compares translations with what they ought to be; controls are the source itself, and recoloured.

    The images are read anew each time, a few at a time: there may be more than memory holds.
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
            plain = _averaged(metrics.likeness(_unit(source), _unit(truth)) for source, truth in ends())
            dyed = _averaged(metrics.likeness(recolour(_unit(it)), _unit(truth)) for it, truth in ends())
            self.controls["untranslated"] |= _named(direction, plain)
            self.controls["recoloured"] |= _named(direction, dyed)

    def _ends(self, direction: str) -> Iterator[tuple[Array, Array]]:
        """Give what is translated and what ought to come of it, a few images of either at a time."""
        source, target = _must_be_known(direction)
        for batch in read(self.pairs, self.samples, CHUNK):
            yield as_served(batch[source]), as_served(batch[target])

    def describe(self) -> None:
        """Nothing but the truth."""

    def headline_score(self, pipeline: Pipeline) -> float:
        """Give the mean L1 distance."""
        distances = [
            {"l1": (_unit(pipeline.translate(direction, source)) - _unit(truth)).abs().mean((1, 2, 3))}
            for direction in pipeline.inputs
            for source, truth in self._ends(direction)
        ]
        return _averaged(distances)["l1"]

    def score(self, pipeline: Pipeline) -> Scores:
        """Give the L1 distance, PSNR and SSIM to the truth, and the L1 distance of there and back."""
        scores: Scores = {}
        for direction in pipeline.inputs:
            parts = []
            with progress(self.samples, f"translating {direction}", "images") as advance:
                for source, truth in self._ends(direction):
                    translated = pipeline.translate(direction, source)
                    likeness = metrics.likeness(_unit(translated), _unit(truth))
                    parts.append(likeness | _cycle(pipeline, direction, source, translated))
                    for _ in source:
                        advance()
            scores |= _named(direction, _averaged(parts))
        return scores


class DomainScorer:
    """Compares translations with their target domain in an extractor's features.

    The controls are the source, untranslated, which is the number to beat, and held-out images of the target.
    """

    headline = "frechet"

    def __init__(self, data: Dataset, extractor: Extractor, n: int) -> None:
        self.extractor, held_out = extractor, data.held_out()
        self.data = held_out.name if held_out else data.name
        count = min(n, data.size, held_out.size) if held_out else min(n, data.size // 2)
        if count < metrics.NEIGHBOURS:
            raise UserError(f"{data.name}: {count:g} images of a domain are too few to compare")
        self.samples = int(count)
        if held_out:
            known, self.sources = _images(data, self.samples), _images(held_out, self.samples)
        else:
            both = _images(data, 2 * self.samples)
            known = {domain: images[: self.samples] for domain, images in both.items()}
            self.sources = {domain: images[self.samples :] for domain, images in both.items()}
        self.targets = {"a2b": self._see(known["b"]), "b2a": self._see(known["a"])}
        self.controls: dict[str, Scores] = {"untranslated": {}, "real": {}}
        for direction, (source, target) in ENDS.items():
            self.controls["untranslated"] |= self._compare(direction, self.sources[source])
            self.controls["real"] |= self._compare(direction, self.sources[target])
        self.reference = _mean(self.controls["real"], self.headline)

    def describe(self) -> dict[str, str | float]:
        """Name the extractor."""
        return self.extractor.describe()

    def headline_score(self, pipeline: Pipeline) -> float:
        """Give the mean Fréchet distance."""
        distances = []
        for direction in pipeline.inputs:
            source, _ = _must_be_known(direction)
            translated = _translate(pipeline, direction, self.sources[source])
            distances.append(metrics.frechet(self.targets[direction], self._see(translated)))
        return float(np.mean(distances))

    def score(self, pipeline: Pipeline) -> Scores:
        """Give the Fréchet and the kernel distance to the target, and the L1 distance of there and back."""
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
        return torch.cat([self.extractor(part).features for part in parts])


CHUNK = 16
"""Images that are translated together."""


def _translate(pipeline: Pipeline, direction: str, images: Array) -> Array:
    """Translate images, uint8 (N, H, W, C), a few at a time."""
    parts = np.array_split(images, math.ceil(len(images) / CHUNK))
    return np.concatenate([pipeline.translate(direction, part) for part in parts])


def _cycle(pipeline: Pipeline, direction: str, images: Array, translated: Array) -> dict[str, Tensor]:
    """Give the L1 distance of each image from itself there and back, (N,), where there is a way back."""
    if BACK[direction] not in pipeline.inputs:
        return {}
    back = _translate(pipeline, BACK[direction], translated)
    return {"cycle": (_unit(back) - _unit(images)).abs().mean((1, 2, 3))}


def _averaged(parts: Iterable[Mapping[str, Tensor]]) -> Scores:
    """Average each score, (N,) in every part, over all images."""
    gathered: dict[str, list[Tensor]] = {}
    for part in parts:
        for name, values in part.items():
            gathered.setdefault(name, []).append(values)
    return {name: torch.cat(values).mean().item() for name, values in gathered.items()}


def _must_be_known(direction: str) -> tuple[str, str]:
    """Give the domains of a direction.

    Raises:
        UserError: it is neither a2b nor b2a.
    """
    if direction not in ENDS:
        raise UserError(f"translations that can be scored are a2b and b2a; there is {direction}")
    return ENDS[direction]


def _images(data: Dataset, n: int) -> dict[str, Array]:
    """Read n images of either domain: uint8 (N, H, W, C) under `a` and `b`."""
    parts = [{domain: as_served(batch[domain]) for domain in ("a", "b")} for batch in read(data, n)]
    return {domain: np.concatenate([part[domain] for part in parts]) for domain in ("a", "b")}


def _unit(images: Array) -> Tensor:
    """Take uint8 (N, H, W, C) to float32 (N, C, H, W) from 0 to 1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def _named(direction: str, scores: Scores) -> Scores:
    return {f"{direction}_{name}": value for name, value in scores.items()}


def _mean(scores: Scores, name: str) -> float:
    """Average a score over the directions."""
    return float(np.mean([value for key, value in scores.items() if key.endswith(f"_{name}")]))
