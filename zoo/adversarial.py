"""The game of two players, latent in and sample out, whatever their networks are."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo.entry import Batch, Entry, Inputs
from zoo.objectives import OBJECTIVES, Objective

ObjectiveName = Literal[
    "non_saturating", "minimax", "least_squares", "hinge", "wasserstein", "relativistic", "softmax"
]


@dataclass(frozen=True, kw_only=True)
class TwoPlayerEntry(Entry):
    """Hyperparameters that every game of a generator and a discriminator shares."""

    latent_size: int = 100
    """Numbers in a latent, the generator's random input; standard normal."""

    objective: ObjectiveName = "non_saturating"
    """What the players play for."""

    learning_rate: float = 2e-4
    """Adam's learning rate, for both players."""

    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates of the first and the second moment."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "latent_size", "learning_rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive; got {getattr(self, name)}")
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}; got {self.objective}")

    @property
    def score_size(self) -> int:
        """Scores that the objective wants from the discriminator for each example."""
        return OBJECTIVES[self.objective].score_size


class TwoPlayer:
    """Train a generator against a discriminator by alternate updates, the discriminator first.

    The generator maps `latent`, (N, latent_size), to samples of the data's shape; the discriminator maps
    those to raw scores, (N, score_size). Source: Goodfellow et al. 2014, algorithm 1 with k = 1.
    """

    def __init__(
        self,
        entry: TwoPlayerEntry,
        generator: nn.Module,
        discriminator: nn.Module,
        device: torch.device | str,
    ) -> None:
        self.generator, self.discriminator = generator.to(device), discriminator.to(device)
        self.generators = nn.ModuleDict({"generator": self.generator})
        self.discriminators = nn.ModuleDict({"discriminator": self.discriminator})
        self.objective: Objective = OBJECTIVES[entry.objective]
        self.latent_size, self.device = entry.latent_size, device
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            name: torch.optim.Adam(player.parameters(), lr=entry.learning_rate, betas=entry.betas)
            for name, player in (("generator", self.generator), ("discriminator", self.discriminator))
        }

    def inputs(self, batch: Batch) -> Inputs:
        """Draw a latent for every example of the batch."""
        size = (len(batch["real"]), self.latent_size)
        return {"generator": {"latent": torch.randn(size, device=self.device)}}

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Update the discriminator, then the generator, on the same fakes."""
        real = batch["real"]
        fake = self.generator(**self.inputs(batch)["generator"])

        # Two forwards: batch normalisation must not see real and fake in one batch.
        real_scores, fake_scores = self.discriminator(real), self.discriminator(fake.detach())
        discriminator_loss = self.objective.discriminator(real_scores, fake_scores)
        descend(discriminator_loss, self.optimizers["discriminator"])

        with frozen(self.discriminator):
            generator_loss = self.objective.generator(
                self.discriminator(fake), lambda: self.discriminator(real)
            )
            descend(generator_loss, self.optimizers["generator"])

        return {
            "generator_loss": generator_loss.detach(),
            "discriminator_loss": discriminator_loss.detach(),
            "real_score": real_scores.detach()[:, -1].mean(),
            "fake_score": fake_scores.detach()[:, -1].mean(),
        }

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the players and the optimizers are all there is."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back nothing."""


def descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Take one step down the loss's gradient, computed afresh: nothing left over from elsewhere counts."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


@contextmanager
def frozen(player: nn.Module) -> Iterator[None]:
    """Keep gradients out of a player's parameters while they still flow through it to its input."""
    player.requires_grad_(False)
    try:
        yield
    finally:
        player.requires_grad_(True)
