"""Differentiable augmentation: random transforms of the discriminator's input, real and fake.

Each transform maps images (N, C, H, W) to the same shape, draws new random numbers for every image and is
differentiable, twice for the penalties. Colour, translation and cutout are the three policies of Zhao et al.
2020; flip, rotation and scale are geometric ones of Karras et al. 2020. `Fixed` applies the transforms to all
images, `Adaptive` with a probability that it steers (Karras et al. 2020).
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import ConfigError

Transform = Callable[[Tensor], Tensor]


INTERVAL = 4
"""Training steps between two changes of the probability (Karras et al. 2020, section 3)."""

MOST = 0.8
"""Highest probability. Above it, the generator may learn the transforms (Karras et al. 2020, section 2.2)."""

DEFAULTS = ("colour", "translation", "cutout")
"""Transforms of adaptive augmentation, if none are named."""


class Augment(Protocol):
    """Transforms of the discriminator's input, which may follow its scores."""

    def __call__(self, examples: Tensor) -> Tensor:
        """Return the examples, (N, C, H, W), after the transforms."""
        ...

    def observe(self, margins: Tensor) -> None:
        """Record the margins of real examples, (N,), of one update of the discriminator."""
        ...

    def adapt(self) -> dict[str, Tensor]:
        """Adapt to the margins at the end of a training step, and return detached scalars to log."""
        ...


class Augmented(nn.Module):
    """A discriminator that transforms its input at random before it scores it."""

    def __init__(self, discriminator: nn.Module, augment: Augment) -> None:
        super().__init__()
        self.discriminator, self.augment = discriminator, augment

    def forward(self, examples: Tensor, **conditions: Tensor) -> Tensor:
        """Return the scores of the transformed examples; conditions are passed on unchanged."""
        scores: Tensor = self.discriminator(self.augment(examples), **conditions)
        return scores


class Fixed(nn.Module):
    """Transforms that are applied to every example."""

    def __init__(self, transforms: tuple[str, ...]) -> None:
        super().__init__()
        self.transforms = [TRANSFORMS[name] for name in transforms]

    def forward(self, examples: Tensor) -> Tensor:
        """Return the examples after all transforms."""
        for transform in self.transforms:
            examples = transform(examples)
        return examples

    def observe(self, margins: Tensor) -> None:
        """Do nothing."""

    def adapt(self) -> dict[str, Tensor]:
        """Return no scalars."""
        return {}


class Adaptive(nn.Module):
    """Transforms that are each applied to each example with a probability, which starts at 0 (Karras 2020).

    Every few steps, the probability rises by a fixed amount if the mean sign of the margins is above the
    target, and falls by it otherwise. All state is in buffers, so that checkpoints contain it, and nothing
    waits for the device. With several processes, all of them observe the margins of the whole batch.

    Args:
        transforms: names of the transforms.
        target: mean sign of the margins that the probability is steered to, at least 0 and below 1.
        ramp: number of real examples in which the probability can rise from 0 to 1.
    """

    probability: Tensor
    signs: Tensor
    examples: Tensor
    steps: Tensor

    def __init__(self, transforms: tuple[str, ...], target: float, ramp: float) -> None:
        super().__init__()
        self.transforms = [TRANSFORMS[name] for name in transforms]
        self.target, self.ramp = target, ramp
        for name in ("probability", "signs", "examples", "steps"):
            self.register_buffer(name, torch.zeros(()))

    def forward(self, examples: Tensor) -> Tensor:
        """Return the examples, (N, C, H, W), after the transforms that are drawn for each of them."""
        for transform in self.transforms:
            examples = torch.where(_draw(examples) < self.probability, transform(examples), examples)
        return examples

    @torch.no_grad()
    def observe(self, margins: Tensor) -> None:
        """Add the signs of the margins of real examples, (N,), to those since the last change."""
        self.signs += margins.sign().sum()
        self.examples += len(margins)

    @torch.no_grad()
    def adapt(self) -> dict[str, Tensor]:
        """Change the probability if the step is due; return it and the mean sign since the last change."""
        self.steps += 1
        due, sign = self.steps == INTERVAL, self.signs / self.examples
        change = (sign - self.target).sign() * self.examples / self.ramp
        self.probability.add_(due * change).clamp_(0, MOST)
        for since in (self.signs, self.examples, self.steps):
            since.mul_(~due)
        return {"augment_probability": self.probability.clone(), "real_sign": sign}


def open_augment(transforms: tuple[str, ...], target: float, ramp: float) -> Augment:
    """Return transforms that adapt to a target, by default `DEFAULTS`, or fixed ones if the target is 0."""
    return Adaptive(transforms or DEFAULTS, target, ramp) if target else Fixed(transforms)


def must_be_transforms(transforms: tuple[str, ...], target: float, shape: tuple[int, ...]) -> None:
    """Check that transforms, and a target to adapt them to, suit examples of a shape.

    Raises:
        ConfigError: they do not.
    """
    if not 0 <= target < 1:
        raise ConfigError(f"augment_target must be at least 0 and below 1; got {target}")
    if (transforms or target) and len(shape) != 3:
        raise ConfigError(
            f"augment must be empty and augment_target 0 for vectors of shape {shape}; got {transforms} and "
            f"{target:g}"
        )
    if "rotation" in transforms and shape[1] != shape[2]:
        raise ConfigError(
            f"the transform rotation needs square images; got the shape {shape}; use others of --augment"
        )


def flip(images: Tensor) -> Tensor:
    """Flip each image horizontally with probability 0.5."""
    return torch.where(_draw(images) < 0.5, images.flip(3), images)


def rotation(images: Tensor) -> Tensor:
    """Rotate each image, which must be square, by 0, 1, 2 or 3 quarter turns with equal probability."""
    turns = torch.randint(4, (len(images), 1, 1, 1), device=images.device)
    rotated = images
    for number in (1, 2, 3):
        rotated = torch.where(turns == number, images.rot90(number, (2, 3)), rotated)
    return rotated


def scale(images: Tensor) -> Tensor:
    """Scale about the centre by 2 to a power from N(0, 0.2), bilinearly, padding with 0 (mid-grey).

    Matrices interpolate the rows and the columns, because `grid_sample` has no second derivative.
    """
    factors = torch.exp2(torch.randn(len(images), 1, 1, 1, device=images.device) * 0.2)
    for dimension in (2, 3):
        places = _places(images, dimension).flatten() - (images.shape[dimension] - 1) / 2
        weights = (1 - (places[:, None] / factors - places).abs()).clamp(min=0)
        images = weights @ images if dimension == 2 else images @ weights.mT
    return images


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
    "rotation": rotation,
    "scale": scale,
}
