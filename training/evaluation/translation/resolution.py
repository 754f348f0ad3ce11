"""Scores of super-resolution: reduced images, enlarged again, against the originals."""

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from serving.arrays import Array, Pixels
from serving.errors import UserError
from serving.runtime.pipeline import Pipeline
from serving.system.progress import progress
from training.data.dataset import Dataset, read
from training.evaluation import metrics
from training.evaluation.extractor import Extractor
from training.evaluation.translation.translated import CHUNK, Scores, averaged, features_of, named, unit
from training.graphs.pixels import as_served
from zoo.degradations import bicubic
from zoo.super_resolution import DIRECTION

METHODS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
"""Ways to enlarge an image without a network, which are the controls."""

LUMA = torch.tensor([65.481, 128.553, 24.966]).reshape(3, 1, 1) / 255
"""Weights of red, green and blue in the luma of ITU-R BT.601, up to a constant."""


class ResolutionScorer:
    """Scorer of enlarged images against the originals, which were reduced as in training.

    `psnr` and `ssim` are those of the luma, without as many pixels at the border as the scale, as is usual
    for super-resolution; `l1` is that of all pixels and channels.

    Args:
        data: the images, whose sizes are multiples of the scale.
        scale: height and width of the enlarged images, in multiples of those of the reduced ones.
        n: maximum number of images.
        extractor: extractor of features whose Euclidean distances are scored, too.
    """

    headline, reference = "l1", 0.0

    def __init__(self, data: Dataset, scale: int, n: int, extractor: Extractor | None = None) -> None:
        if n < 1:
            raise UserError(f"n must be at least 1; got {n}")
        self.images, self.data, self.samples = data, data.name, int(min(n, data.size))
        self.scale, self.extractor = scale, extractor
        self.controls = {
            name: named(
                DIRECTION, averaged(self._likeness(enlarged(small, scale, by), real) for small, real in self)
            )
            for name, by in METHODS.items()
        }

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        """Yield reduced images and the originals, in small batches; they are read again each time."""
        for batch in read(self.images, self.samples, CHUNK):
            yield as_served(bicubic(batch["real"], self.scale)), as_served(batch["real"])

    def _likeness(self, images: Array, truth: Array) -> dict[str, Tensor]:
        """Return every score of enlarged images, (N,) each."""
        border = slice(self.scale, -self.scale)
        lumas = (_luma(unit(each))[:, :, border, border] for each in (images, truth))
        scores = metrics.likeness(*lumas) | {"l1": (unit(images) - unit(truth)).abs().mean((1, 2, 3))}
        if self.extractor is not None:
            seen, wanted = (features_of(self.extractor, each) for each in (images, truth))
            scores["feature_distance"] = (seen - wanted).norm(dim=1)
        return scores

    def describe(self) -> dict[str, str | float] | None:
        """Return the description of the extractor, or None without one."""
        return self.extractor.describe() if self.extractor else None

    def headline_score(self, pipeline: Pipeline) -> float:
        """Return the mean L1 distance."""
        distances = (
            {"l1": (unit(pipeline.translate(small, DIRECTION)) - unit(real)).abs().mean((1, 2, 3))}
            for small, real in self
        )
        return averaged(distances)["l1"]

    def score(self, pipeline: Pipeline) -> Scores:
        """Return the L1 distance, PSNR and SSIM to the originals and, with features, their distance."""
        parts = []
        with progress(self.samples, "enlarging", "images") as advance:
            for small, real in self:
                parts.append(self._likeness(pipeline.translate(small, DIRECTION), real))
                for _ in real:
                    advance()
        return named(DIRECTION, averaged(parts))


def enlarged(images: Pixels, scale: int, by: Image.Resampling) -> Pixels:
    """Enlarge images, uint8 (N, H, W, C), without a network."""
    height, width = (scale * side for side in images.shape[1:3])
    return np.stack([_enlarged(image, (width, height), by) for image in images])


def _enlarged(image: Pixels, size: tuple[int, int], by: Image.Resampling) -> Pixels:
    channels = [np.asarray(Image.fromarray(channel).resize(size, by)) for channel in np.moveaxis(image, 2, 0)]
    return np.stack(channels, 2)


def _luma(images: Tensor) -> Tensor:
    """Return the luma (N, 1, H, W) of images in [0, 1]; grey images are their own."""
    return (images * LUMA).sum(1, keepdim=True) if images.shape[1] == 3 else images
