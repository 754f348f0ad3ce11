"""The first GAN, with the networks and rates that its paper drew MNIST with (Goodfellow et al. 2014)."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo.adversarial import OptimizerName, TwoPlayer, TwoPlayerEntry
from zoo.entry import Batch, DistributionName
from zoo.errors import ConfigError
from zoo.fields import must_be_positive
from zoo.models.mlp_gan import layers, must_be_shape

LEAST_RATE = 1e-6
"""Learning rate that the decay stops at."""

SATURATION = 125_000
"""Updates until the momentum stops growing: 250 passes over 50,000 examples."""


@dataclass(frozen=True, kw_only=True)
class Goodfellow2014(TwoPlayerEntry):
    """The first GAN: maxout discriminator with dropout, descent with momentum (Goodfellow et al. 2014).

    Sizes and rates are those of the configuration that the authors published with the paper; their start of
    the last bias from the data's means is left out.
    """

    shape: tuple[int, ...] = (1, 28, 28)
    """Shape of a sample: channels, height and width of an image, or the one size of a vector."""

    width: int = 1200
    """Units in either hidden layer of the generator."""

    maxout_units: int = 240
    """Units in either hidden layer of the discriminator."""

    maxout_pieces: int = 5
    """Linear pieces of a unit, whose greatest is its output."""

    decay: float = 1.000004
    """What the learning rate is divided by at every update."""

    batch_size: int = 100
    latent_distribution: DistributionName = "uniform"
    optimizer: OptimizerName = "sgd"
    learning_rate: float = 0.1
    betas: tuple[float, float] = (0.5, 0.999)

    final_momentum: float = 0.7
    """Momentum of sgd after 125,000 updates, reached linearly from the first of betas."""

    def __post_init__(self) -> None:
        super().__post_init__()
        must_be_shape(self.shape)
        must_be_positive(self, "width", "maxout_units", "maxout_pieces")
        if self.decay < 1:
            raise ConfigError(f"decay divides the learning rate, so it must be at least 1; got {self.decay}")

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape asked for."""
        return self.shape

    def build(self, device: torch.device | str = "cpu") -> TwoPlayer:
        """Make both players; weights uniform within 0.05 in the generator, 0.005 in the discriminator."""
        size = math.prod(self.shape)
        generator = Generator(self)
        discriminator = nn.Sequential(
            nn.Flatten(),
            ToUnit(),
            nn.Dropout(0.2),
            Maxout(size, self.maxout_units, self.maxout_pieces),
            nn.Dropout(0.5),
            Maxout(self.maxout_units, self.maxout_units, self.maxout_pieces),
            nn.Dropout(0.5),
            nn.Linear(self.maxout_units, self.score_size),
        )
        for player, bound in ((generator, 0.05), (discriminator, 0.005)):
            for module in player.modules():
                if isinstance(module, nn.Linear):
                    nn.init.uniform_(module.weight, -bound, bound)
                    nn.init.zeros_(module.bias)
        return Annealed(self, generator, discriminator, device)


class Annealed(TwoPlayer):
    """The game of two players whose learning rate falls and whose momentum grows with every update."""

    entry: Goodfellow2014

    def __init__(
        self,
        entry: Goodfellow2014,
        generator: nn.Module,
        discriminator: nn.Module,
        device: torch.device | str,
    ) -> None:
        super().__init__(entry, generator, discriminator, device)
        self.updates = 0

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Set this update's rates, on top of the run's schedule, and take it."""
        slowed = max(self.entry.decay**-self.updates, LEAST_RATE / self.entry.learning_rate)
        first, last = self.entry.betas[0], self.entry.final_momentum
        momentum = first + (last - first) * min(1.0, self.updates / SATURATION)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] *= slowed
                group["momentum"] = momentum
        self.updates += 1
        return super().step(batch)

    def state_dict(self) -> dict[str, Any]:
        """Give the count of updates."""
        return {"updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the count of updates back."""
        self.updates = state["updates"]


class Generator(nn.Module):
    """Map latents (N, latent_size) to samples (N, *shape) in [-1, 1]."""

    def __init__(self, entry: Goodfellow2014) -> None:
        super().__init__()
        self.shape = entry.shape
        sizes = (entry.latent_size, entry.width, entry.width, math.prod(entry.shape))
        self.layers = layers(sizes, slope=0.0)

    def forward(self, latent: Tensor) -> Tensor:
        """Give the sigmoid of the last layer, stretched from [0, 1], in the sample's shape."""
        return (2 * torch.sigmoid(self.layers(latent)) - 1).reshape(-1, *self.shape)


class ToUnit(nn.Module):
    """Take [-1, 1] to [0, 1], where the paper's discriminator looks."""

    def forward(self, examples: Tensor) -> Tensor:
        """Halve and shift."""
        return (examples + 1) / 2


class Maxout(nn.Module):
    """Give for each unit the greatest of its linear pieces (Goodfellow et al. 2013): (N, D) to (N, units)."""

    def __init__(self, size: int, units: int, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces
        self.linear = nn.Linear(size, units * pieces)

    def forward(self, examples: Tensor) -> Tensor:
        """Take the greatest piece of each unit."""
        greatest: Tensor = self.linear(examples).unflatten(1, (-1, self.pieces)).amax(2)
        return greatest
