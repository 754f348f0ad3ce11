"""DCGAN (Radford et al. 2015): convolutional networks with strides instead of pooling."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from zoo.adversarial import ImageGANEntry, ObjectiveName, RegularizerName, ScheduleName, TwoPlayer
from zoo.entry import doublings
from zoo.fields import must_be_positive

NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm2d, "none": nn.Identity}


@dataclass(frozen=True, kw_only=True)
class DCGAN(ImageGANEntry):
    """Deep convolutional GAN for square images of any power-of-two size from 16 (Radford et al. 2015).

    The networks are those of the paper, half as wide. The defaults for the width, the objective, the
    regularizer and the optimizer measured best; all but the width follow Huang et al. 2024. `DCGAN2015` has
    the settings of the paper.
    """

    width: int = 32
    """Channels of the feature maps at half the image size, doubled at each further halving."""

    discriminator_norm: Literal["batch", "none"] = "batch"
    """Normalisation in the discriminator from its second layer on."""

    image_size: int = 64
    objective: ObjectiveName = "relativistic"
    regularizer: RegularizerName = "r1+r2"
    regularizer_weight: float = 0.02
    regularizer_interval: int = 4
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.0, 0.99)
    schedule: ScheduleName = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        must_be_positive(self, "width")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the feature maps from half the image size down to 4x4."""
        return tuple(self.width * 2**level for level in range(doublings(self.image_size)))

    def build(self, device: torch.device | str = "cpu") -> TwoPlayer:
        """Build the trainer; weights follow section 4 of the paper, batch normalisation N(1, 0.02)."""
        generator, discriminator = self.networks()
        generator.apply(initialise)
        discriminator.apply(initialise)
        return TwoPlayer(self, generator, discriminator, device)

    def networks(self) -> tuple[nn.Module, nn.Module]:
        """Build the generator and the discriminator."""
        return Generator(self, self.latent_size), Discriminator(self, self.channels)


@dataclass(frozen=True, kw_only=True)
class DCGAN2015(DCGAN):
    """DCGAN with the width, the objective and the optimizer settings of its paper (Radford et al. 2015)."""

    width: int = 64
    objective: ObjectiveName = "non_saturating"
    regularizer: RegularizerName = "none"
    regularizer_interval: int = 1
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    schedule: ScheduleName = "constant"


class Generator(nn.Module):
    """DCGAN generator: latents (N, latent_size) to images (N, C, H, W) in [-1, 1]."""

    def __init__(self, entry: DCGAN, latent_size: int) -> None:
        super().__init__()
        inner = entry.widths[::-1]
        stages: list[nn.Module] = [
            nn.ConvTranspose2d(latent_size, inner[0], 4, stride=1, padding=0, bias=False),
            nn.BatchNorm2d(inner[0]),
            nn.ReLU(),
        ]
        for before, after in pairwise(inner):
            stages += [
                nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        last = nn.ConvTranspose2d(inner[-1], entry.channels, 4, stride=2, padding=1, bias=False)
        self.stages = nn.Sequential(*stages, last, nn.Tanh())

    def forward(self, latent: Tensor) -> Tensor:
        """Upsample the latent, as a 1x1 feature map, to 4x4 and then by factors of 2 to the image size."""
        images: Tensor = self.stages(latent[:, :, None, None])
        return images


class Discriminator(nn.Module):
    """DCGAN discriminator: images (N, C, H, W) to raw scores (N, score_size)."""

    def __init__(self, entry: DCGAN, channels: int) -> None:
        super().__init__()
        inner = entry.widths
        stages: list[nn.Module] = [
            nn.Conv2d(channels, inner[0], 4, stride=2, padding=1, bias=False),
            nn.LeakyReLU(0.2),
        ]
        bias = entry.discriminator_norm == "none"  # batch normalisation has its own bias
        for before, after in pairwise(inner):
            stages += [
                nn.Conv2d(before, after, 4, stride=2, padding=1, bias=bias),
                NORMS[entry.discriminator_norm](after),
                nn.LeakyReLU(0.2),
            ]
        last = nn.Conv2d(inner[-1], entry.score_size, 4, stride=1, padding=0, bias=False)
        self.stages = nn.Sequential(*stages, last, nn.Flatten())

    def forward(self, image: Tensor) -> Tensor:
        """Downsample the image to 4x4 and then to one position."""
        scores: Tensor = self.stages(image)
        return scores


def initialise(module: nn.Module) -> None:
    """Draw the weights of a convolution from N(0, 0.02), of batch normalisation from N(1, 0.02)."""
    match module:
        case nn.Conv2d() | nn.ConvTranspose2d():
            nn.init.normal_(module.weight, 0.0, 0.02)
        case nn.BatchNorm2d():
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)
