"""Translations as scores need them: batches, pixels as numbers, and scores named by their direction."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from serving.arrays import Array
from serving.errors import UserError
from serving.runtime.pipeline import BACK, Pipeline
from training.data.dataset import Dataset, read
from training.data.transforms import with_channels
from training.evaluation.extractor import Extractor
from training.graphs.pixels import as_served

ENDS = {"a2b": ("a", "b"), "b2a": ("b", "a")}
"""Source and target domain of each direction."""

Scores = dict[str, float]

CHUNK = 16
"""Number of images in a translation batch."""


def translate(pipeline: Pipeline, direction: str, images: Array) -> Array:
    """Translate images, uint8 (N, H, W, C), in batches of at most `CHUNK`."""
    parts = np.array_split(images, math.ceil(len(images) / CHUNK))
    return np.concatenate([pipeline.translate(part, direction) for part in parts])


def cycle_of(pipeline: Pipeline, direction: str, images: Array, translated: Array) -> dict[str, Tensor]:
    """Return the L1 distance between each image and its translation to the other domain and back, (N,).

    The result is empty if the pipeline has no reverse direction.
    """
    if BACK[direction] not in pipeline.inputs:
        return {}
    back = translate(pipeline, BACK[direction], translated)
    return {"cycle": (unit(back) - unit(images)).abs().mean((1, 2, 3))}


def averaged(parts: Iterable[Mapping[str, Tensor]]) -> Scores:
    """Return the mean of each score over all images. Each part has one value per image, (N,)."""
    gathered: dict[str, list[Tensor]] = {}
    for part in parts:
        for name, values in part.items():
            gathered.setdefault(name, []).append(values)
    return {name: torch.cat(values).mean().item() for name, values in gathered.items()}


def ends_of(direction: str) -> tuple[str, str]:
    """Return the source and target domain of a direction.

    Raises:
        UserError: the direction is neither a2b nor b2a.
    """
    if direction not in ENDS:
        raise UserError(f"the direction of a scored translation must be a2b or b2a; got {direction}")
    return ENDS[direction]


def images_of(data: Dataset, n: int) -> dict[str, Array]:
    """Read n images of each domain: `a` and `b`, uint8 (N, H, W, C) each."""
    parts = [{domain: as_served(batch[domain]) for domain in ("a", "b")} for batch in read(data, n)]
    return {domain: np.concatenate([part[domain] for part in parts]) for domain in ("a", "b")}


def like(images: Array, others: Array) -> Array:
    """Return images, uint8 (N, H, W, C), in the channels of others, as `with_channels` converts them."""
    converted = with_channels(torch.from_numpy(images).permute(0, 3, 1, 2), others.shape[3])
    same: Array = converted.permute(0, 2, 3, 1).numpy()
    return same


def features_of(extractor: Extractor, images: Array, channels: int = 0) -> Tensor:
    """Return the features, (N, D), of images, uint8 (N, H, W, C), in another number of channels if given."""
    parts = torch.split(torch.from_numpy(images).permute(0, 3, 1, 2), CHUNK)
    return torch.cat([extractor(with_channels(part, channels or part.shape[1])).features for part in parts])


def unit(images: Array) -> Tensor:
    """Convert uint8 (N, H, W, C) to float32 (N, C, H, W) in [0, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def named(direction: str, scores: Scores) -> Scores:
    """Return scores by their names with the direction."""
    return {f"{direction}_{name}": value for name, value in scores.items()}


def mean_of(scores: Scores, name: str) -> float:
    """Return the mean of a score over the directions."""
    return float(np.mean([value for key, value in scores.items() if key.endswith(f"_{name}")]))
