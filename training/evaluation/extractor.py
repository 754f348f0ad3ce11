"""The interface of feature extractors for images."""

from typing import NamedTuple, Protocol

from torch import Tensor


class Seen(NamedTuple):
    """Output of an extractor for N images."""

    features: Tensor
    """Features, float32 (N, D)."""

    classes: Tensor | None
    """Predicted classes, (N,), or None if the extractor does not classify."""


class Extractor(Protocol):
    """Feature extractor for images, uint8 (N, C, H, W) on the CPU."""

    classes: int
    """Number of classes that it predicts, or 0 if it does not classify."""

    def describe(self) -> dict[str, str | float]:
        """Return a description of the extractor. Scores with equal descriptions are comparable."""
        ...

    def __call__(self, images: Tensor) -> Seen:
        """Extract the features of images."""
        ...
