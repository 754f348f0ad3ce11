"""Projected GAN (Sauer et al. 2021): a discriminator of the features of a frozen, pretrained network."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.adversarial import ObjectiveName, TransformName, TwoPlayer
from zoo.efficientnet import MAPS, Frozen, must_be_loaded
from zoo.errors import ConfigError
from zoo.fields import must_be_positive
from zoo.models.dcgan import initialise
from zoo.models.fastgan import Generator, SkipLayerEntry

REDUCTION = 32
"""Size of the input of the frozen network, in multiples of that of its last feature maps."""

LARGEST = 8
"""Feature maps of this size and more are halved before they are scored."""


@dataclass(frozen=True, kw_only=True)
class ProjectedGAN(SkipLayerEntry):
    """Projected GAN: discriminators of random mixes of pretrained features (Sauer et al. 2021).

    Written from the paper. The generator is the one of FastGAN, and the pretrained network is
    EfficientNet-Lite0. Images are resized to a smaller size than the paper's 256x256, which is faster.
    """

    pretrained: ClassVar[str | None] = "efficientnet"

    projection_width: int = 64
    """Channels of the mixed features at 1/4 of the resized images; twice as many at each half of the size."""

    feature_size: int = 96
    """Height and width that images are resized to for the pretrained network: a multiple of 32."""

    objective: ObjectiveName = "hinge"
    spectral_norm: bool = True
    augment: tuple[TransformName, ...] = ("colour", "translation", "cutout")
    betas: tuple[float, float] = (0.0, 0.99)

    def __post_init__(self) -> None:
        super().__post_init__()
        must_be_positive(self, "projection_width")
        if self.feature_size < REDUCTION or self.feature_size % REDUCTION:
            raise ConfigError(f"feature_size must be a multiple of {REDUCTION}; got {self.feature_size}")

    @property
    def projection_widths(self) -> tuple[int, ...]:
        """Channels of the mixed features at 1/4, 1/8, 1/16 and 1/32 of the resized images."""
        return tuple(self.projection_width << level for level in range(len(MAPS)))

    def build(self, device: torch.device | str = "cpu") -> "Projected":
        """Build the trainer; steps need the weights of the pretrained network, by `load_pretrained`."""
        generator = Generator(self, self.latent_size)
        generator.apply(initialise)
        return Projected(self, generator, Discriminator(self), device)


class Projected(TwoPlayer):
    """Trainer of two players whose discriminator sees images through a frozen network."""

    def load_pretrained(self, weights: dict[str, Tensor]) -> None:
        """Load the weights of the frozen network, by the names of `zoo.efficientnet.Network`."""
        network: Any = self.discriminator.discriminator
        network.frozen = Frozen(weights, self.device)


class Discriminator(nn.Module):
    """Four discriminators of projected features: images (N, C, H, W) to the scores of parts, (N, S).

    Each scale has the scores of k x k parts, with k = 3 for the default size of 96x96: S = 4 k k.
    """

    frozen: Frozen | None = None

    def __init__(self, entry: ProjectedGAN) -> None:
        super().__init__()
        self.size = entry.feature_size
        self.projection = Projection(entry.projection_widths)
        further, smallest = 0, entry.feature_size // REDUCTION
        while smallest >> further >= LARGEST:
            further += 1
        most = entry.projection_widths[-1]
        self.heads = nn.ModuleList(
            head(width, most, len(MAPS) - 1 - level + further, entry.score_size)
            for level, width in enumerate(entry.projection_widths)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return the scores of all scales, the largest feature maps first.

        Raises:
            ConfigError: the weights of the pretrained network were not loaded.
        """
        mixed = self.projection(must_be_loaded(self.frozen)(image, self.size))
        return torch.cat([each(maps) for each, maps in zip(self.heads, mixed, strict=True)], 1)


class Projection(nn.Module):
    """Random mixes of feature maps across channels and scales, which are never trained (section 3.2).

    The weights are buffers: checkpoints contain them, and optimizers and spectral normalisation do not.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        for level, (before, after) in enumerate(zip(MAPS, widths, strict=True)):
            self.register_buffer(f"channels_{level}", _drawn(after, before, 1))
        for level, (after, before) in enumerate(pairwise(widths)):
            self.register_buffer(f"scales_{level}", _drawn(after, before, 3))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Mix the channels of all maps by 1x1 convolutions; add each, by a 3x3 one, to the next larger."""
        mixed = [F.conv2d(each, self.get_buffer(f"channels_{level}")) for level, each in enumerate(maps)]
        for level in reversed(range(len(mixed) - 1)):
            smaller = F.conv2d(mixed[level + 1], self.get_buffer(f"scales_{level}"), padding=1)
            larger = F.interpolate(smaller, scale_factor=2, mode="bilinear", align_corners=False)
            mixed[level] = mixed[level] + larger
        return mixed


def _drawn(after: int, before: int, kernel: int) -> Tensor:
    return nn.init.kaiming_normal_(torch.empty(after, before, kernel, kernel))


def head(width: int, most: int, halvings: int, score_size: int) -> nn.Sequential:
    """Build a discriminator of feature maps (N, width, h, w), with a convolution for each halving."""
    layers: list[nn.Module] = []
    for _ in range(halvings):
        after = min(2 * width, most)
        layers += [nn.Conv2d(width, after, 4, 2, 1), nn.LeakyReLU(0.2)]
        width = after
    layers += [nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(width, score_size, 1)]
    return nn.Sequential(*layers, nn.Flatten())
