"""Fully connected GANs for vectors and small images (after Goodfellow et al. 2014)."""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from zoo.adversarial import (
    ObjectiveName,
    OptimizerName,
    RegularizerName,
    ScheduleName,
    TwoPlayer,
    TwoPlayerEntry,
)
from zoo.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class MLPGAN(TwoPlayerEntry):
    """Fully connected GAN with LeakyReLU (Goodfellow et al. 2014, in its common MNIST form)."""

    shape: tuple[int, ...] = (1, 28, 28)
    """Shape of a sample: channels, height and width of an image, or the size of a vector."""

    generator_widths: tuple[int, ...] = (256, 512)
    """Units in the generator's hidden layers, from input to output."""

    discriminator_widths: tuple[int, ...] = (512, 256)
    """Units in the discriminator's hidden layers, from input to output."""

    generator_slope: float = 0.2
    """Negative slope of the generator's LeakyReLU; 0 is ReLU."""

    discriminator_slope: float = 0.2
    """Negative slope of the discriminator's LeakyReLU; 0 is ReLU."""

    weight_deviation: float | None = None
    """Standard deviation of the initial weights, with biases 0; by default PyTorch's initialisation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        must_be_shape(self.shape)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of a sample, as configured."""
        return self.shape

    def build(self, device: torch.device | str = "cpu") -> TwoPlayer:
        """Build the trainer of a fully connected generator and discriminator."""
        sizes = (math.prod(self.shape), *self.discriminator_widths, self.score_size)
        generator = Generator(self)
        discriminator = nn.Sequential(nn.Flatten(), *layers(sizes, self.discriminator_slope))
        if self.weight_deviation is not None:
            for module in (*generator.modules(), *discriminator.modules()):
                if isinstance(module, nn.Linear):
                    nn.init.normal_(module.weight, 0.0, self.weight_deviation)
                    nn.init.zeros_(module.bias)
        return TwoPlayer(self, generator, discriminator, device)


@dataclass(frozen=True, kw_only=True)
class MLPGANCompact(MLPGAN):
    """Small fully connected GAN with weights from N(0, 0.01) (after Goodfellow et al. 2014).

    The networks are those of a common NumPy exercise.
    """

    batch_size: int = 32
    generator_widths: tuple[int, ...] = (128, 256)
    discriminator_widths: tuple[int, ...] = (256, 128)
    generator_slope: float = 0.0
    weight_deviation: float | None = 0.01


@dataclass(frozen=True, kw_only=True)
class MLPGANDeep(MLPGAN):
    """Fully connected GAN with four hidden ReLU layers per player (after Goodfellow et al. 2014).

    The learning rate of the discriminator is half that of the generator.
    """

    generator_widths: tuple[int, ...] = (128, 256, 512, 1024)
    discriminator_widths: tuple[int, ...] = (1024, 512, 256, 128)
    generator_slope: float = 0.0
    discriminator_slope: float = 0.0
    discriminator_learning_rate: float | None = 1e-4


@dataclass(frozen=True, kw_only=True)
class MLPGANVector(MLPGAN):
    """Fully connected GAN for points and other vectors, relativistic with R1 and R2 (Huang et al. 2024)."""

    shape: tuple[int, ...] = (2,)
    batch_size: int = 256
    latent_size: int = 2
    generator_widths: tuple[int, ...] = (128, 128)
    discriminator_widths: tuple[int, ...] = (128, 128)
    generator_slope: float = 0.0
    objective: ObjectiveName = "relativistic"
    regularizer: RegularizerName = "r1+r2"
    regularizer_weight: float = 0.01
    learning_rate: float = 2e-3
    betas: tuple[float, float] = (0.0, 0.99)
    schedule: ScheduleName = "cosine"


@dataclass(frozen=True, kw_only=True)
class MLPGANVectorSGD(MLPGANVector):
    """Tiny fully connected GAN for vectors, plain SGD, batches of two (after Goodfellow et al. 2014)."""

    batch_size: int = 2
    latent_size: int = 4
    generator_widths: tuple[int, ...] = (8, 8)
    discriminator_widths: tuple[int, ...] = (32, 32)
    objective: ObjectiveName = "non_saturating"
    regularizer: RegularizerName = "none"
    optimizer: OptimizerName = "sgd"
    learning_rate: float = 0.1
    schedule: ScheduleName = "constant"


class Generator(nn.Module):
    """Fully connected generator: latents (N, latent_size) to samples (N, *shape) in [-1, 1]."""

    def __init__(self, entry: MLPGAN) -> None:
        super().__init__()
        self.shape = entry.shape
        sizes = (entry.latent_size, *entry.generator_widths, math.prod(entry.shape))
        self.layers = layers(sizes, entry.generator_slope)

    def forward(self, latent: Tensor) -> Tensor:
        """Return tanh of the last layer in the sample's shape."""
        return torch.tanh(self.layers(latent)).reshape(-1, *self.shape)


def must_be_shape(shape: tuple[int, ...]) -> None:
    """Check that a sample's shape is that of a vector or an image.

    Raises:
        ConfigError: the shape is neither one size nor channels, height and width.
    """
    if len(shape) not in (1, 3) or min(shape) < 1:
        raise ConfigError(
            "shape must be the size of a vector, or the channels, height and width of an image, each at "
            f"least 1; got {shape}"
        )


def layers(sizes: tuple[int, ...], slope: float) -> nn.Sequential:
    """Build linear layers of these sizes with LeakyReLU between them."""
    stack: list[nn.Module] = []
    for before, after in pairwise(sizes[:-1]):
        stack += [nn.Linear(before, after), nn.LeakyReLU(slope)]
    return nn.Sequential(*stack, nn.Linear(sizes[-2], sizes[-1]))
