"""Fully connected GANs of vectors and small images, after Goodfellow et al. 2014."""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from zoo.adversarial import TwoPlayer, TwoPlayerEntry


@dataclass(frozen=True, kw_only=True)
class MLPGAN(TwoPlayerEntry):
    """Fully connected GAN, LeakyReLU throughout (Goodfellow et al. 2014, in its common MNIST form)."""

    shape: tuple[int, ...] = (1, 28, 28)
    """Shape of a sample: channels, height and width of an image, or the one size of a vector."""

    generator_widths: tuple[int, ...] = (256, 512)
    """Units in the generator's hidden layers, from the latent on."""

    discriminator_widths: tuple[int, ...] = (512, 256)
    """Units in the discriminator's hidden layers, from the sample on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.shape) not in (1, 3) or min(self.shape) < 1:
            raise ValueError(f"shape must be one size or channels, height and width; got {self.shape}")

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape asked for."""
        return self.shape

    def build(self, device: torch.device | str = "cpu") -> TwoPlayer:
        """Make both players with PyTorch's default initialisation."""
        size = math.prod(self.shape)
        discriminator = nn.Sequential(
            nn.Flatten(), *layers((size, *self.discriminator_widths, self.score_size))
        )
        return TwoPlayer(self, Generator(self), discriminator, device)


class Generator(nn.Module):
    """Map latents (N, latent_size) to samples (N, *shape) in [-1, 1]."""

    def __init__(self, entry: MLPGAN) -> None:
        super().__init__()
        self.shape = entry.shape
        self.layers = layers((entry.latent_size, *entry.generator_widths, math.prod(entry.shape)))

    def forward(self, latent: Tensor) -> Tensor:
        """Give tanh of the last layer, in the sample's shape."""
        return torch.tanh(self.layers(latent)).reshape(-1, *self.shape)


def layers(sizes: tuple[int, ...]) -> nn.Sequential:
    """Stack linear layers of these sizes with LeakyReLU 0.2 between them."""
    stack: list[nn.Module] = []
    for before, after in pairwise(sizes[:-1]):
        stack += [nn.Linear(before, after), nn.LeakyReLU(0.2)]
    return nn.Sequential(*stack, nn.Linear(sizes[-2], sizes[-1]))
