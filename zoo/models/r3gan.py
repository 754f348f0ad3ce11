"""R3GAN (Huang et al. 2024): relativistic objective, R1 and R2, residual networks without normalisation."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.adversarial import ImageGANEntry, ObjectiveName, RegularizerName, ScheduleName, TwoPlayer
from zoo.entry import doublings
from zoo.errors import ConfigError
from zoo.fields import must_be_positive


@dataclass(frozen=True, kw_only=True)
class R3GAN(ImageGANEntry):
    """Regularised relativistic GAN on residual networks without normalisation (Huang et al. 2024).

    Written from the paper's formulas. Every resolution has residual blocks of grouped convolutions, which are
    initialised to the identity, and resampling is bilinear. The learning rate decays to 0 by a cosine. Gamma
    and Adam's second beta, which the paper also anneals, are constant.
    """

    width: int = 64
    """Channels of the feature maps at the image size, doubled at each halving, up to 512."""

    blocks: int = 2
    """Residual blocks at each resolution."""

    group_width: int = 16
    """Channels per group of the grouped 3x3 convolutions."""

    latent_size: int = 64
    objective: ObjectiveName = "relativistic"
    regularizer: RegularizerName = "r1+r2"
    regularizer_weight: float = 0.5
    betas: tuple[float, float] = (0.0, 0.99)
    schedule: ScheduleName = "cosine"

    def __post_init__(self) -> None:
        super().__post_init__()
        must_be_positive(self, "width", "blocks", "group_width")
        if any(width % self.group_width for width in self.widths):
            widths = ", ".join(map(str, self.widths))
            raise ConfigError(f"group_width must divide the layer widths {widths}; got {self.group_width}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the feature maps from the image size down to 4x4."""
        most = max(512, self.width)
        return tuple(min(self.width << level, most) for level in range(doublings(self.image_size) + 1))

    def build(self, device: torch.device | str = "cpu") -> TwoPlayer:
        """Build the trainer of both players."""
        return TwoPlayer(self, Generator(self), Discriminator(self), device)


class Generator(nn.Module):
    """R3GAN generator: latents (N, latent_size) to images (N, C, H, W), approximately in [-1, 1].

    There is no output activation.
    """

    def __init__(self, entry: R3GAN) -> None:
        super().__init__()
        widths = entry.widths[::-1]
        self.basis = nn.Parameter(torch.randn(widths[0], 4, 4))
        self.gains = linear(entry.latent_size, widths[0])
        stages = blocks(entry, widths[0])
        for before, after in pairwise(widths):
            stages += [Resize(2.0), *widen(before, after), *blocks(entry, after)]
        self.stages = nn.Sequential(*stages, convolution(widths[-1], entry.channels, 1))

    def forward(self, latent: Tensor) -> Tensor:
        """Scale the learned 4x4 feature maps by a projection of the latent and upsample them."""
        images: Tensor = self.stages(self.gains(latent)[:, :, None, None] * self.basis)
        return images


class Discriminator(nn.Module):
    """R3GAN discriminator: images (N, C, H, W) to raw scores (N, score_size)."""

    def __init__(self, entry: R3GAN) -> None:
        super().__init__()
        widths = entry.widths
        stages = [convolution(entry.channels, widths[0], 1), *blocks(entry, widths[0])]
        for before, after in pairwise(widths):
            stages += [*widen(before, after), Resize(0.5), *blocks(entry, after)]
        # A depthwise 4x4 convolution reduces each of the last feature maps to one number.
        self.stages = nn.Sequential(
            *stages,
            nn.Conv2d(widths[-1], widths[-1], 4, groups=widths[-1], bias=False),
            nn.Flatten(),
            linear(widths[-1], entry.score_size),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Downsample the image to 4x4 and then to one position."""
        scores: Tensor = self.stages(image)
        return scores


class Block(nn.Module):
    """Residual block, the identity at initialisation.

    A 1x1 convolution to twice the width, a grouped 3x3 convolution and a 1x1 convolution back.
    """

    def __init__(self, width: int, group_width: int, gain: float) -> None:
        super().__init__()
        inner = 2 * width
        self.residual = nn.Sequential(
            convolution(width, inner, 1, gain=gain),
            nn.LeakyReLU(0.2),
            convolution(inner, inner, 3, groups=inner // group_width, gain=gain),
            nn.LeakyReLU(0.2),
            convolution(inner, width, 1, gain=0.0),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Add the residual to the feature maps."""
        total: Tensor = maps + self.residual(maps)
        return total


class Resize(nn.Module):
    """Bilinear resampling of feature maps (N, C, H, W) by a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, maps: Tensor) -> Tensor:
        """Return the feature maps at the new size."""
        return F.interpolate(maps, scale_factor=self.factor, mode="bilinear", align_corners=False)


def blocks(entry: R3GAN, width: int) -> list[nn.Module]:
    """Build the residual blocks of one resolution; the gain falls with their number (Zhang et al. 2019)."""
    number = entry.blocks * len(entry.widths)
    return [Block(width, entry.group_width, number**-0.25) for _ in range(entry.blocks)]


def widen(before: int, after: int) -> list[nn.Module]:
    """Return a 1x1 convolution that changes the number of channels, or nothing if it is the same."""
    return [] if before == after else [convolution(before, after, 1)]


def convolution(before: int, after: int, size: int, groups: int = 1, gain: float = 1.0) -> nn.Conv2d:
    """Build a size-preserving convolution; weights follow He et al. 2015, times the gain."""
    made = nn.Conv2d(before, after, size, padding=size // 2, groups=groups)
    nn.init.kaiming_normal_(made.weight, a=0.2)
    with torch.no_grad():
        made.weight.mul_(gain)
    nn.init.zeros_(made.bias)  # type: ignore[arg-type]
    return made


def linear(before: int, after: int) -> nn.Linear:
    """Build a linear layer with weights of variance 1 / before and without bias."""
    made = nn.Linear(before, after, bias=False)
    nn.init.normal_(made.weight, std=before**-0.5)
    return made
