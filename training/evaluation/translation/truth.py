"""Scores of translations against the ground truth of paired data."""

from collections.abc import Callable, Iterator
from functools import partial

from torch import Tensor

from serving.arrays import Array
from serving.errors import UserError
from serving.runtime.pipeline import Pipeline
from serving.system.progress import progress
from training.data.dataset import Dataset, read
from training.evaluation import metrics
from training.evaluation.translation.translated import (
    CHUNK,
    ENDS,
    Scores,
    averaged,
    cycle_of,
    ends_of,
    like,
    named,
    unit,
)
from training.graphs.pixels import as_served


class TruthScorer:
    """Scorer of translations against the ground truth of paired data.

    The controls are the untranslated source, in the channels of the target, and the source after the best
    affine colour transform. The images are read again at each call, in small batches, because they may not
    fit in memory.

    Args:
        pairs: the paired data.
        n: maximum number of pairs.
        see: function of images, uint8 (N, H, W, C), to features, (N, D), whose distances are scored, too.
    """

    headline, reference = "l1", 0.0

    def __init__(self, pairs: Dataset, n: int, see: Callable[[Array], Tensor] | None = None) -> None:
        if n < 1:
            raise UserError(f"n must be at least 1; got {n}")
        self.pairs, self.data, self.samples = pairs, pairs.name, int(min(n, pairs.size))
        self.see = see
        self.controls: dict[str, Scores] = {"untranslated": {}, "recoloured": {}}
        for direction in ENDS:
            ends = partial(self._ends, direction)
            recolour = metrics.best_recolouring((unit(source), unit(truth)) for source, truth in ends())
            plain = averaged(self._likeness(unit(like(source, truth)), truth) for source, truth in ends())
            dyed = averaged(self._likeness(recolour(unit(source)), truth) for source, truth in ends())
            self.controls["untranslated"] |= named(direction, plain)
            self.controls["recoloured"] |= named(direction, dyed)

    def _ends(self, direction: str) -> Iterator[tuple[Array, Array]]:
        """Yield source images and their ground truth, in small batches."""
        source, target = ends_of(direction)
        for batch in read(self.pairs, self.samples, CHUNK):
            yield as_served(batch[source]), as_served(batch[target])

    def _likeness(self, images: Tensor, truth: Array) -> dict[str, Tensor]:
        """Return every score of images, (N, C, H, W) in [0, 1], against their truth, (N,) each."""
        scores = metrics.likeness(images, unit(truth))
        if self.see is not None:
            seen = self.see(as_served(2 * images - 1))
            scores["feature_distance"] = (seen - self.see(truth)).norm(dim=1)
        return scores

    def describe(self) -> None:
        """Return None, because no extractor is used."""

    def headline_score(self, pipeline: Pipeline) -> float:
        """Return the mean L1 distance."""
        distances = [
            {"l1": (unit(pipeline.translate(source, direction)) - unit(truth)).abs().mean((1, 2, 3))}
            for direction in pipeline.inputs
            for source, truth in self._ends(direction)
        ]
        return averaged(distances)["l1"]

    def score(self, pipeline: Pipeline) -> Scores:
        """Return the L1 distance, PSNR and SSIM to the ground truth, and the cycle L1 distance.

        With features, their Euclidean distance is added.
        """
        scores: Scores = {}
        for direction in pipeline.inputs:
            parts = []
            with progress(self.samples, f"translating {direction}", "images") as advance:
                for source, truth in self._ends(direction):
                    translated = pipeline.translate(source, direction)
                    likeness = self._likeness(unit(translated), truth)
                    parts.append(likeness | cycle_of(pipeline, direction, source, translated))
                    for _ in source:
                        advance()
            scores |= named(direction, averaged(parts))
        return scores
