"""Differentiable augmentation: random transforms of the discriminator's input, real and fake.

Each transform maps images (N, C, H, W) to the same shape, draws new random numbers for every image and is
differentiable. Colour, translation and cutout are the three policies of Zhao et al. 2020; flip is the usual
horizontal flip.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Transform = Callable[[Tensor], Tensor]


class Augmented(nn.Module):
    """A discriminator that transforms its input at random before it scores it."""

    def __init__(self, discriminator: nn.Module, transforms: tuple[str, ...]) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.transforms = [TRANSFORMS[name] for name in transforms]

    def forward(self, examples: Tensor, **conditions: Tensor) -> Tensor:
        """Return the scores of the transformed examples; conditions are passed on unchanged."""
        for transform in self.transforms:
            examples = transform(examples)
        scores: Tensor = self.discriminator(examples, **conditions)
        return scores


def flip(images: Tensor) -> Tensor:
    """Flip each image horizontally with probability 0.5."""
    return torch.where(_draw(images) < 0.5, images.flip(3), images)


def translation(images: Tensor) -> Tensor:
    """Shift by up to an eighth of the size in both directions, padding with 0 (mid-grey)."""
    for dimension in (2, 3):
        size = images.shape[dimension]
        most = max(1, size // 8)
        padding = (0, 0, most, most) if dimension == 2 else (most, most, 0, 0)
        start = torch.randint(2 * most + 1, (len(images), 1, 1, 1), device=images.device)
        index = (start + _places(images, dimension)).expand(images.shape)
        images = F.pad(images, padding).gather(dimension, index)
    return images


def cutout(images: Tensor) -> Tensor:
    """Set a random square of half the size to 0 (mid-grey); it may extend over the edge."""
    hidden = torch.ones_like(images[:, :1], dtype=torch.bool)
    for dimension in (2, 3):
        size = images.shape[dimension]
        center = torch.randint(size + 1, (len(images), 1, 1, 1), device=images.device)
        first, places = center - size // 4, _places(images, dimension)
        hidden = hidden & (places >= first) & (places < first + (size + 1) // 2)
    return images.masked_fill(hidden, 0.0)


def colour(images: Tensor) -> Tensor:
    """Shift brightness by up to 0.5; scale saturation by 0 to 2 and contrast by 0.5 to 1.5."""
    images = images + _draw(images) - 0.5
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * _draw(images) * 2
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * (_draw(images) + 0.5)


def _places(images: Tensor, dimension: int) -> Tensor:
    """Return the row indices (dimension 2) or column indices (3), to broadcast against (N, 1, 1, 1)."""
    places = torch.arange(images.shape[dimension], device=images.device)
    return places[:, None] if dimension == 2 else places


def _draw(images: Tensor) -> Tensor:
    """Draw a number in [0, 1) for each image: (N, 1, 1, 1)."""
    return torch.rand(len(images), 1, 1, 1, device=images.device)


TRANSFORMS: dict[str, Transform] = {
    "colour": colour,
    "translation": translation,
    "cutout": cutout,
    "flip": flip,
}
