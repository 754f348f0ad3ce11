"""SNGAN (Miyato et al. 2018): spectral normalisation in every layer of the discriminator, hinge objective."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from zoo.adversarial import ImageGANEntry, ObjectiveName, ScheduleName, TwoPlayer
from zoo.entry import doublings
from zoo.fields import must_be_positive


@dataclass(frozen=True, kw_only=True)
class SNGAN(ImageGANEntry):
    """Residual networks, spectral normalisation, hinge objective (Miyato et al. 2018, tables 4 and 5)."""

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
        """Make both players; weights by Glorot and Bengio 2010, biases 0."""
        generator, discriminator = self.networks()
        for module in (*generator.modules(), *discriminator.modules()):
            if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        return TwoPlayer(self, generator, discriminator, device)

    def networks(self) -> tuple[nn.Module, nn.Module]:
        """Make the residual networks."""
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
    """Plain convolutional networks, spectral normalisation, hinge objective (Miyato et al. 2018, table 3)."""

    generator_width: int = 512
    """Channels of the generator's feature maps at 4x4; each doubling halves them."""

    discriminator_width: int = 64
    """Channels of the discriminator's feature maps at the image's size; each halving doubles them."""

    discriminator_steps: int = 1
    betas: tuple[float, float] = (0.5, 0.999)
    schedule: ScheduleName = "constant"

    def networks(self) -> tuple[nn.Module, nn.Module]:
        """Make the plain networks."""
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
    """Map latents (N, latent_size) to images (N, C, H, W) in [-1, 1], by way of 4x4 feature maps."""

    def __init__(self, latent_size: int, width: int, *stages: nn.Module) -> None:
        super().__init__()
        self.width = width
        self.first = nn.Linear(latent_size, width * 16)
        self.stages = nn.Sequential(*stages)

    def forward(self, latent: Tensor) -> Tensor:
        """Grow the latent from 4x4."""
        images: Tensor = self.stages(self.first(latent).reshape(-1, self.width, 4, 4))
        return images


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, at the size, doubled (`up`) or halved (`down`)."""

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
        # The first block of a discriminator sees pixels, which no activation may cut.
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
        """Add the residual to the shortcut."""
        total: Tensor = self.shortcut(maps) + self.residual(maps)
        return total


class Activation(nn.Sequential):
    """ReLU, after batch normalisation where there is any."""

    def __init__(self, width: int, norm: bool) -> None:
        super().__init__(nn.BatchNorm2d(width) if norm else nn.Identity(), nn.ReLU())


class GlobalSum(nn.Module):
    """Sum feature maps (N, C, H, W) over their places: (N, C)."""

    def forward(self, maps: Tensor) -> Tensor:
        """Sum over height and width."""
        return maps.sum((2, 3))
