"""SRResNet (Ledig et al. 2017): super-resolution by a residual network that learns from pixels."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.entry import Trainer
from zoo.super_resolution import Doubling, PixelTrainer, SuperResolutionEntry


@dataclass(frozen=True, kw_only=True)
class SRResNet(SuperResolutionEntry):
    """Super-resolution by a residual network, without a discriminator (Ledig et al. 2017)."""

    def build(self, device: torch.device | str = "cpu") -> Trainer:
        """Build the trainer; weights are PyTorch's default ones."""
        return PixelTrainer(self, device)

    def make_generator(self) -> nn.Module:
        """Build the residual generator."""
        return Generator(self)


class Generator(nn.Module):
    """Residual generator: images (N, C, H, W) to images `scale` times as high and wide (Ledig 2017, fig. 4).

    Unlike the paper's, its feature maps are enlarged by repeated values and a convolution, not by sub-pixel
    convolutions, and its output is added to the source with repeated pixels: it begins with that picture.
    """

    def __init__(self, entry: SRResNet) -> None:
        super().__init__()
        width, self.scale = entry.width, float(entry.scale)
        self.first = nn.Sequential(nn.Conv2d(entry.channels, width, 9, padding=4), nn.PReLU())
        self.blocks = nn.Sequential(
            *(Block(width) for _ in range(entry.blocks)), nn.Conv2d(width, width, 3, padding=1)
        )
        self.norm = nn.BatchNorm2d(width)
        self.enlarge = nn.Sequential(
            *(Doubling(width, nn.PReLU()) for _ in range(entry.scale.bit_length() - 1)),
            nn.Conv2d(width, entry.channels, 9, padding=4),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Enlarge the images."""
        maps = self.first(image)
        detail = self.enlarge(maps + self.norm(self.blocks(maps)))
        images: Tensor = F.interpolate(image, scale_factor=self.scale, mode="nearest") + detail
        return images


class Block(nn.Module):
    """Residual block of two convolutions with batch normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.PReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Return the maps plus the residual."""
        total: Tensor = maps + self.body(maps)
        return total
