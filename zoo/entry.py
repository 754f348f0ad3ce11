"""The contract: an Entry is a paper's hyperparameters; built, it is a Trainer."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from zoo.errors import ConfigError

Batch = dict[str, Tensor]
"""What data yields: `real`, (N, C, H, W) images in [-1, 1] or (N, D) vectors, and `label`, (N,) int64, where
the data have labels. Translators find their two domains under `a` and `b`."""

DistributionName = Literal["normal", "uniform"]
"""What latents are drawn from, number by number: mean 0 and variance 1."""

DataKind = Literal["examples", "domains", "pairs"]
"""How data are made up: examples of one kind, two domains side by side, or two domains whose examples belong
together one by one."""

Inputs = dict[str, dict[str, Tensor]]
"""What each generator is fed: its name, then its arguments by name."""


class Trainer(Protocol):
    """An entry built: the players, their optimizers and one round of updates."""

    generators: nn.ModuleDict
    discriminators: nn.ModuleDict
    optimizers: dict[str, torch.optim.Optimizer]

    def inputs(self, batch: Batch) -> Inputs:
        """Give what each generator would be fed for this batch; random inputs are drawn anew."""
        ...

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Update every player once; give detached scalars worth logging."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs beside the players and the optimizers: by default nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        return


@dataclass(frozen=True, kw_only=True)
class Entry(ABC):
    """A paper's hyperparameters. Subclasses add fields; each field's docstring is its flag's help."""

    task: ClassVar[Literal["sample", "translate"]] = "sample"

    learns_from: ClassVar[DataKind] = "examples"
    """What the data must be made up of."""

    batch_size: int = 64
    """Examples in a batch."""

    @property
    @abstractmethod
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one example: (C, H, W) of an image, (D,) of a vector. The data are fitted to it."""

    @property
    def scored_shape(self) -> tuple[int, ...]:
        """Shape of the examples that scores are of."""
        return self.sample_shape

    @property
    def classes(self) -> int:
        """Classes that the generators are told apart by, as many as the data have; 0: they are told none."""
        return 0

    @property
    def latent_distribution(self) -> DistributionName:
        """What the generators' latents are drawn from, where they have any."""
        return "normal"

    @property
    def multiple(self) -> int:
        """What heights and widths must be multiples of, where the generators translate images of any size."""
        return 1

    @property
    def least(self) -> int:
        """The least height and width that such a generator takes."""
        return self.multiple

    @property
    def examples_per_step(self) -> int:
        """Examples that one step of the trainer is given."""
        return self.batch_size

    @abstractmethod
    def build(self, device: torch.device | str = "cpu") -> Trainer:
        """Make the players, initialised from torch's global random state, on the device."""

    def learning_rate_at(self, progress: float) -> float:
        """Give the factor on every learning rate when `progress` (0 to 1) of the run is done."""
        return 1.0


def doublings(image_size: int) -> int:
    """Count how often 4x4 is doubled to an image's size.

    Raises:
        ConfigError: the size is not a power of two, or below 16.
    """
    if image_size < 16 or image_size.bit_count() != 1:
        raise ConfigError(f"image_size must be a power of two, at least 16; got {image_size}")
    return image_size.bit_length() - 3
