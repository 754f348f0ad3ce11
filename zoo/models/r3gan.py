"""R3GAN (Huang et al. 2024): relativistic pairing, both gradient penalties, plain modern networks."""

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

    From the paper's formulas: every scale has residual blocks of grouped convolutions, resized bilinearly,
    weights started so that a block is at first the identity. The learning rate follows a cosine to 0; gamma
    and Adam's second beta, which the paper anneals too, stay.
    """

    width: int = 64
    """Channels of the feature maps at the image's size; each halving doubles them, up to 512."""

    blocks: int = 2
    """Residual blocks at each size."""

    group_width: int = 16
    """Channels in a group of the 3x3 convolutions."""

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
            raise ConfigError(f"widths, {widths}, must be multiples of group_width {self.group_width}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the feature maps from the image's size down to 4x4."""
        most = max(512, self.width)
        return tuple(min(self.width << level, most) for level in range(doublings(self.image_size) + 1))

    def build(self, device: torch.device | str = "cpu") -> TwoPlayer:
        """Make both players."""
        return TwoPlayer(self, Generator(self), Discriminator(self), device)


class Generator(nn.Module):
    """Map latents (N, latent_size) to images (N, C, H, W), about [-1, 1]: nothing squashes them."""

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
        """Weigh the learned 4x4 maps by the latent, and grow them."""
        images: Tensor = self.stages(self.gains(latent)[:, :, None, None] * self.basis)
        return images


class Discriminator(nn.Module):
    """Map images (N, C, H, W) to raw scores (N, score_size)."""

    def __init__(self, entry: R3GAN) -> None:
        super().__init__()
        widths = entry.widths
        stages = [convolution(entry.channels, widths[0], 1), *blocks(entry, widths[0])]
        for before, after in pairwise(widths):
            stages += [*widen(before, after), Resize(0.5), *blocks(entry, after)]
        # The last maps are read by one learned 4x4 map each.
        self.stages = nn.Sequential(
            *stages,
            nn.Conv2d(widths[-1], widths[-1], 4, groups=widths[-1], bias=False),
            nn.Flatten(),
            linear(widths[-1], entry.score_size),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Halve the image down to 4x4, then to one position."""
        scores: Tensor = self.stages(image)
        return scores


class Block(nn.Module):
    """A residual: 1x1 convolution to twice the width, grouped 3x3, 1x1 back; at first it adds nothing."""

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
        """Add the residual."""
        total: Tensor = maps + self.residual(maps)
        return total


class Resize(nn.Module):
    """Scale feature maps (N, C, H, W) bilinearly by a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, maps: Tensor) -> Tensor:
        """Give maps of the new size."""
        return F.interpolate(maps, scale_factor=self.factor, mode="bilinear", align_corners=False)


def blocks(entry: R3GAN, width: int) -> list[nn.Module]:
    """Make the residual blocks of one size; weights smaller the more there are (Zhang et al. 2019)."""
    number = entry.blocks * len(entry.widths)
    return [Block(width, entry.group_width, number**-0.25) for _ in range(entry.blocks)]


def widen(before: int, after: int) -> list[nn.Module]:
    """Change the number of channels, where it changes."""
    return [] if before == after else [convolution(before, after, 1)]


def convolution(before: int, after: int, size: int, groups: int = 1, gain: float = 1.0) -> nn.Conv2d:
    """Make a convolution that keeps the maps' size; weights by He et al. 2015, times the gain."""
    made = nn.Conv2d(before, after, size, padding=size // 2, groups=groups)
    nn.init.kaiming_normal_(made.weight, a=0.2)
    with torch.no_grad():
        made.weight.mul_(gain)
    nn.init.zeros_(made.bias)  # type: ignore[arg-type]
    return made


def linear(before: int, after: int) -> nn.Linear:
    """Make a linear layer; weights N(0, 1 / before), no bias."""
    made = nn.Linear(before, after, bias=False)
    nn.init.normal_(made.weight, std=before**-0.5)
    return made
