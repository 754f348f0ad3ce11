"""FastGAN (Liu et al. 2021): skip-layer excitation, and a discriminator that also decodes; for few images."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.adversarial import ImageGANEntry, ObjectiveName, TransformName, TwoPlayer
from zoo.errors import ConfigError
from zoo.fields import must_be_at_least, must_be_positive
from zoo.models.dcgan import initialise
from zoo.regularizers import Discriminator as Bound
from zoo.regularizers import Scored

DOUBLINGS = 4
"""Doublings of the size between feature maps and those that they excite."""

DECODED = 128
"""Largest size of a decoded image."""

WIDER = {4: 16, 8: 8, 16: 4, 32: 2, 64: 2}
"""Channels of feature maps by their size, in multiples of the width; for larger maps 128 / size."""


@dataclass(frozen=True, kw_only=True)
class SkipLayerEntry(ImageGANEntry):
    """Hyperparameters of entries with the generator of FastGAN and a discriminator that scores parts."""

    width: int = 64
    """Channels of the feature maps at 128x128; twice as many at 64x64 and 16 times as many at 4x4."""

    image_size: int = 64
    latent_size: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        must_be_positive(self, "width")
        if self.score_size != 1:
            raise ConfigError(
                f"the objective must have one score per part of an image; got {self.objective}, which has "
                f"{self.score_size}"
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the feature maps from 4x4 up to the image size."""
        sizes = (4 << level for level in range(self.image_size.bit_length() - 2))
        return tuple(max(1, self.width * WIDER[s] if s in WIDER else self.width * 128 // s) for s in sizes)


@dataclass(frozen=True, kw_only=True)
class FastGAN(SkipLayerEntry):
    """FastGAN for few images: skip-layer excitation, a discriminator that also decodes (Liu et al. 2021).

    Written from the paper. Decoded images are compared by their mean absolute difference, where the paper
    compares features of a pretrained network. The generator's feature maps get no noise.
    """

    reconstruction_weight: float = 1.0
    """Weight of the difference between real images and their decoded features in the discriminator's loss."""

    batch_size: int = 8
    objective: ObjectiveName = "hinge"
    spectral_norm: bool = True
    augment: tuple[TransformName, ...] = ("colour", "translation")
    betas: tuple[float, float] = (0.5, 0.999)

    def __post_init__(self) -> None:
        super().__post_init__()
        must_be_at_least(self, 0, "reconstruction_weight")
        if self.image_size < 4 << DOUBLINGS:
            raise ConfigError(f"image_size must be at least {4 << DOUBLINGS}; got {self.image_size}")

    def build(self, device: torch.device | str = "cpu") -> TwoPlayer:
        """Build the trainer; weights are drawn from N(0, 0.02)."""
        generator, discriminator = self.networks()
        generator.apply(initialise)
        discriminator.apply(initialise)
        return SelfSupervised(self, generator, discriminator, device)

    def networks(self) -> tuple[nn.Module, nn.Module]:
        """Build the generator and the discriminator."""
        return Generator(self, self.latent_size), Discriminator(self)


class SelfSupervised(TwoPlayer):
    """Trainer of two players whose discriminator also learns to decode the real images."""

    entry: FastGAN

    def penalty(self, discriminator: Bound, real: Scored, fake: Scored) -> Tensor:
        """Return the weighted gradient penalty plus the weighted error of the decoded real images."""
        network: Any = self.discriminator.discriminator
        error: Tensor = network.reconstruction(self.augment(real.examples))
        return super().penalty(discriminator, real, fake) + self.entry.reconstruction_weight * error


class Generator(nn.Module):
    """FastGAN generator: inputs (N, inputs) to images (N, C, H, W) in [-1, 1].

    Images below 64x64 have no feature maps 16 times as large as 4x4, and therefore no excitation.
    """

    def __init__(self, entry: SkipLayerEntry, inputs: int) -> None:
        super().__init__()
        widths = entry.widths
        first = nn.ConvTranspose2d(inputs, 2 * widths[0], 4, bias=False)
        self.first = nn.Sequential(first, nn.BatchNorm2d(2 * widths[0]), nn.GLU(1))
        # The stages have two convolutions and one in turn.
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2), gated(before, after), *extra)
            for number, (before, after) in enumerate(pairwise(widths))
            for extra in [[gated(after, after)] if number % 2 == 0 else []]
        )
        self.excitations = nn.ModuleList(
            Excitation(low, high) for low, high in zip(widths, widths[DOUBLINGS:], strict=False)
        )
        self.last = nn.Sequential(nn.Conv2d(widths[-1], entry.channels, 3, padding=1, bias=False), nn.Tanh())

    def forward(self, latent: Tensor) -> Tensor:
        """Upsample the inputs; small feature maps scale the channels of those 16 times as large."""
        maps = [self.first(latent[:, :, None, None])]
        for stage in self.stages:
            larger = stage(maps[-1])
            if len(maps) >= DOUBLINGS:
                place = len(maps) - DOUBLINGS
                larger = self.excitations[place](maps[place], larger)
            maps.append(larger)
        images: Tensor = self.last(maps[-1])
        return images


class Excitation(nn.Module):
    """Skip-layer excitation: feature maps (N, low, h, w) scale the channels of others, (N, high, H, W)."""

    def __init__(self, low: int, high: int) -> None:
        super().__init__()
        self.gains = nn.Sequential(
            nn.AdaptiveAvgPool2d(4),
            nn.Conv2d(low, high, 4, bias=False),
            nn.LeakyReLU(0.1),
            nn.Conv2d(high, high, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """Return the scaled feature maps."""
        scaled: Tensor = self.gains(low) * high
        return scaled


class Discriminator(nn.Module):
    """FastGAN discriminator: images (N, C, H, W) to raw scores of 5x5 overlapping parts, (N, 25)."""

    def __init__(self, entry: FastGAN) -> None:
        super().__init__()
        widths = entry.widths[-2::-1]  # from half the image size
        first = nn.Conv2d(entry.channels, widths[0], 4, 2, 1, bias=False)
        halvings = [Halve(before, after) for before, after in pairwise(widths[:-1])]
        self.to_16 = nn.Sequential(first, nn.LeakyReLU(0.2), *halvings[:-1])
        self.to_8 = halvings[-1]
        width_16, width_8 = widths[-3], widths[-2]
        self.features = nn.Sequential(*activated(nn.Conv2d(width_8, 2 * width_8, 1, bias=False)))
        self.score = nn.Sequential(nn.Conv2d(2 * width_8, entry.score_size, 4, bias=False), nn.Flatten())
        size = min(entry.image_size, DECODED)
        self.decode_part = decoder(width_16, entry, size)
        self.decode_whole = decoder(width_8, entry, size)

    def forward(self, image: Tensor) -> Tensor:
        """Return the scores."""
        scores: Tensor = self.score(self.features(self.to_8(self.to_16(image))))
        return scores

    def reconstruction(self, image: Tensor) -> Tensor:
        """Return the mean absolute difference between images and what is decoded from their features.

        The features at 8x8 are decoded to the whole image, and a quarter of those at 16x16, drawn at random,
        to the same quarter of the image.
        """
        maps_16 = self.to_16(image)
        maps_8 = self.to_8(maps_16)
        top, left = (int(place) for place in torch.randint(2, (2,)))
        return _difference(self.decode_whole(maps_8), image) + _difference(
            self.decode_part(_quarter(maps_16, top, left)), _quarter(image, top, left)
        )


class Halve(nn.Module):
    """Residual block that halves the size: the mean of two convolutions and of an average pooling."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            *activated(nn.Conv2d(before, after, 4, 2, 1, bias=False)),
            *activated(nn.Conv2d(after, after, 3, padding=1, bias=False)),
        )
        self.direct = nn.Sequential(nn.AvgPool2d(2), *activated(nn.Conv2d(before, after, 1, bias=False)))

    def forward(self, maps: Tensor) -> Tensor:
        """Return the mean of both paths."""
        mean: Tensor = (self.main(maps) + self.direct(maps)) / 2
        return mean


def gated(before: int, after: int) -> nn.Sequential:
    """Build a 3x3 convolution with batch normalisation and a gated linear unit."""
    convolution = nn.Conv2d(before, 2 * after, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(2 * after), nn.GLU(1))


def activated(convolution: nn.Conv2d) -> tuple[nn.Module, ...]:
    """Return the convolution, batch normalisation and a leaky ReLU."""
    return convolution, nn.BatchNorm2d(convolution.out_channels), nn.LeakyReLU(0.2)


def decoder(width: int, entry: FastGAN, size: int) -> nn.Sequential:
    """Build a decoder of feature maps (N, width, 8, 8) to images (N, C, size, size)."""
    widths = [width, *(entry.widths[level] for level in range(2, (size // 4).bit_length()))]
    stages = [
        layer
        for before, after in pairwise(widths)
        for layer in (nn.Upsample(scale_factor=2), gated(before, after))
    ]
    return nn.Sequential(*stages, nn.Conv2d(widths[-1], entry.channels, 3, padding=1, bias=False), nn.Tanh())


def _quarter(maps: Tensor, top: int, left: int) -> Tensor:
    height, width = maps.shape[2] // 2, maps.shape[3] // 2
    return maps[:, :, top * height : (top + 1) * height, left * width : (left + 1) * width]


def _difference(decoded: Tensor, image: Tensor) -> Tensor:
    target = F.interpolate(image, decoded.shape[2:], mode="bilinear", antialias=True)
    return (decoded - target).abs().mean()
