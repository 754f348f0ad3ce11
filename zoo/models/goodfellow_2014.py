"""The original GAN in the configuration of its MNIST experiment (Goodfellow et al. 2014)."""

import math
import operator
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
"""Lower bound of the decayed learning rate."""

SATURATION = 125_000
"""Updates until the momentum reaches its final value: 250 epochs of 50,000 examples."""


@dataclass(frozen=True, kw_only=True)
class Goodfellow2014(TwoPlayerEntry):
    """The original GAN: maxout discriminator with dropout, SGD with momentum (Goodfellow et al. 2014).

    Sizes and rates are those of the configuration published with the paper. The initialisation of the last
    bias from the mean of the data is left out.
    """

    shape: tuple[int, ...] = (1, 28, 28)
    """Shape of a sample: channels, height and width of an image, or the size of a vector."""

    width: int = 1200
    """Units in each of the generator's two hidden layers."""

    maxout_units: int = 240
    """Units in each of the discriminator's two hidden layers."""

    maxout_pieces: int = 5
    """Linear pieces of a maxout unit, which outputs their maximum."""

    decay: float = 1.000004
    """Factor that divides the learning rate after every update."""

    batch_size: int = 100
    latent_distribution: DistributionName = "uniform"
    optimizer: OptimizerName = "sgd"
    learning_rate: float = 0.1
    # The published loss of the discriminator is half of ours, so its rate of 0.1 is 0.05 here.
    discriminator_learning_rate: float | None = 0.05
    betas: tuple[float, float] = (0.5, 0.999)

    final_momentum: float = 0.7
    """Momentum of sgd after 125,000 updates, increased linearly from the first value of betas."""

    def __post_init__(self) -> None:
        super().__post_init__()
        must_be_shape(self.shape)
        must_be_positive(self, "width", "maxout_units", "maxout_pieces")
        if self.decay < 1:
            raise ConfigError(f"decay must be at least 1; got {self.decay}")

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of a sample, as configured."""
        return self.shape

    def build(self, device: torch.device | str = "cpu") -> TwoPlayer:
        """Build the trainer; weights are uniform in +-0.05 (generator) and +-0.005 (discriminator)."""
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
    """Trainer of two players that changes the learning rate and the momentum at every update."""

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
        """Set the learning rate, on top of the run's schedule, and the momentum; then run the step."""
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
        """Return the number of updates."""
        return super().state_dict() | {"updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the number of updates."""
        super().load_state_dict(state)
        self.updates = operator.index(state["updates"])


class Generator(nn.Module):
    """Fully connected generator: latents (N, latent_size) to samples (N, *shape) in [-1, 1]."""

    def __init__(self, entry: Goodfellow2014) -> None:
        super().__init__()
        self.shape = entry.shape
        sizes = (entry.latent_size, entry.width, entry.width, math.prod(entry.shape))
        self.layers = layers(sizes, slope=0.0)

    def forward(self, latent: Tensor) -> Tensor:
        """Return the sigmoid of the last layer, scaled from [0, 1] to [-1, 1], in the sample's shape."""
        return (2 * torch.sigmoid(self.layers(latent)) - 1).reshape(-1, *self.shape)


class ToUnit(nn.Module):
    """Map from [-1, 1] to [0, 1], the range of the paper's data."""

    def forward(self, examples: Tensor) -> Tensor:
        """Return (examples + 1) / 2."""
        return (examples + 1) / 2


class Maxout(nn.Module):
    """Maxout layer, (N, D) to (N, units): the maximum of linear pieces (Goodfellow et al. 2013)."""

    def __init__(self, size: int, units: int, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces
        self.linear = nn.Linear(size, units * pieces)

    def forward(self, examples: Tensor) -> Tensor:
        """Return the maximum over the linear pieces of each unit, (N, units)."""
        greatest: Tensor = self.linear(examples).unflatten(1, (-1, self.pieces)).amax(2)
        return greatest
