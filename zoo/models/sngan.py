"""SNGAN (Miyato et al. 2018): spectral normalisation in the discriminator, hinge objective."""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from zoo.adversarial import ImageGANEntry, ObjectiveName, ScheduleName, TwoPlayer
from zoo.entry import doublings
from zoo.fields import must_be_positive


@dataclass(frozen=True, kw_only=True)
class SNGAN(ImageGANEntry):
    """Spectrally normalised GAN on residual networks, hinge objective (Miyato et al. 2018, tables 4, 5)."""

    generator_width: int = 256
    """Channels of the generator's feature maps."""

    discriminator_width: int = 128
    """Channels of the discriminator's feature maps."""

    latent_size: int = 128
    objective: ObjectiveName = "hinge"
    spectral_norm: bool = True
    discriminator_steps: int = 5
    betas: tuple[float, float] = (0.0, 0.9)
    schedule: ScheduleName = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        must_be_positive(self, "generator_width", "discriminator_width")

    def build(self, device: torch.device | str = "cpu") -> TwoPlayer:
        """Build the trainer; weights follow Glorot and Bengio 2010, biases are 0."""
        generator, discriminator = self.networks()
        generator.apply(initialise)
        discriminator.apply(initialise)
        return TwoPlayer(self, generator, discriminator, device)

    def networks(self) -> tuple[nn.Module, nn.Module]:
        """Build the residual generator and discriminator."""
        width = self.generator_width
        generator = Generator(
            self.latent_size,
            width,
            *(Block(width, width, resize="up", norm=True) for _ in range(doublings(self.image_size))),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, self.channels, 3, padding=1),
            nn.Tanh(),
        )
        width = self.discriminator_width
        discriminator = nn.Sequential(
            Block(self.channels, width, resize="down", first=True),
            *(Block(width, width, resize="down") for _ in range(doublings(self.image_size) - 2)),
            Block(width, width),
            Block(width, width),
            nn.ReLU(),
            GlobalSum(),
            nn.Linear(width, self.score_size),
        )
        return generator, discriminator


@dataclass(frozen=True, kw_only=True)
class SNGANCNN(SNGAN):
    """Spectrally normalised GAN on plain convolutions, hinge objective (Miyato et al. 2018, table 3)."""

    generator_width: int = 512
    """Channels of the generator's feature maps at 4x4, halved at each doubling of the size."""

    discriminator_width: int = 64
    """Channels of the discriminator's feature maps at the image size, doubled at each halving."""

    discriminator_steps: int = 1
    betas: tuple[float, float] = (0.5, 0.999)
    schedule: ScheduleName = "constant"

    def networks(self) -> tuple[nn.Module, nn.Module]:
        """Build the plain convolutional generator and discriminator."""
        widths = [max(1, self.generator_width >> level) for level in range(doublings(self.image_size) + 1)]
        up: list[nn.Module] = [nn.BatchNorm2d(widths[0]), nn.ReLU()]
        for before, after in pairwise(widths):
            up += [nn.ConvTranspose2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
        up += [nn.Conv2d(widths[-1], self.channels, 3, padding=1), nn.Tanh()]

        widths = [self.discriminator_width << level for level in range(doublings(self.image_size) + 1)]
        down: list[nn.Module] = [nn.Conv2d(self.channels, widths[0], 3, padding=1), nn.LeakyReLU(0.1)]
        for before, after in pairwise(widths):
            down += [nn.Conv2d(before, before, 4, 2, 1), nn.LeakyReLU(0.1)]
            down += [nn.Conv2d(before, after, 3, padding=1), nn.LeakyReLU(0.1)]
        down += [nn.Flatten(), nn.Linear(widths[-1] * 16, self.score_size)]
        return Generator(self.latent_size, self.generator_width, *up), nn.Sequential(*down)


class Generator(nn.Module):
    """Generator from 4x4 feature maps: latents (N, latent_size) to images (N, C, H, W) in [-1, 1]."""

    def __init__(self, latent_size: int, width: int, *stages: nn.Module) -> None:
        super().__init__()
        self.width = width
        self.first = nn.Linear(latent_size, width * 16)
        self.stages = nn.Sequential(*stages)

    def forward(self, latent: Tensor) -> Tensor:
        """Project the latent to 4x4 feature maps and upsample them."""
        images: Tensor = self.stages(self.first(latent).reshape(-1, self.width, 4, 4))
        return images


class Block(nn.Module):
    """Residual block of two 3x3 convolutions that keeps, doubles (`up`) or halves (`down`) the size."""

    def __init__(
        self, before: int, after: int, resize: str = "none", norm: bool = False, first: bool = False
    ) -> None:
        super().__init__()
        sizes: dict[str, nn.Module] = {
            "up": nn.Upsample(scale_factor=2, mode="nearest"),
            "down": nn.AvgPool2d(2),
            "none": nn.Identity(),
        }
        enter, leave = (sizes[resize], nn.Identity()) if resize == "up" else (nn.Identity(), sizes[resize])
        # The first block of the discriminator takes pixels, so no activation precedes it.
        activation: list[nn.Module] = [] if first else [Activation(before, norm)]
        self.residual = nn.Sequential(
            *activation,
            enter,
            nn.Conv2d(before, after, 3, padding=1),
            Activation(after, norm),
            nn.Conv2d(after, after, 3, padding=1),
            leave,
        )
        straight = resize == "none" and before == after
        path = nn.Identity() if straight else nn.Conv2d(before, after, 1)
        self.shortcut = nn.Sequential(enter, path, leave)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the sum of the shortcut and the residual."""
        total: Tensor = self.shortcut(maps) + self.residual(maps)
        return total


def initialise(module: nn.Module) -> None:
    """Draw weights by Glorot and Bengio 2010, with gain sqrt(2) in residuals, as in the authors' code.

    A residual is what a module names so.
    """
    match module:
        case nn.Linear() | nn.Conv2d() | nn.ConvTranspose2d():
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        case nn.Module(residual=nn.Sequential() | nn.ModuleList() as layers):  # after its layers
            for layer in layers:
                if isinstance(layer, nn.Conv2d):
                    layer.weight.data.mul_(math.sqrt(2))


class Activation(nn.Sequential):
    """ReLU, optionally preceded by batch normalisation."""

    def __init__(self, width: int, norm: bool) -> None:
        super().__init__(nn.BatchNorm2d(width) if norm else nn.Identity(), nn.ReLU())


class GlobalSum(nn.Module):
    """Global sum pooling: feature maps (N, C, H, W) to (N, C)."""

    def forward(self, maps: Tensor) -> Tensor:
        """Return the sum over height and width."""
        return maps.sum((2, 3))
