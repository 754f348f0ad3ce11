"""Adversarial training of one generator and one discriminator, for any pair of networks."""

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from zoo.augment import Augmented, must_be_transforms, open_augment
from zoo.bounds import must_be_bounded, normalise_spectrally
from zoo.entry import Batch, DistributionName, Entry, Inputs, Trainer, doublings, must_have_channels, split
from zoo.errors import ConfigError
from zoo.fields import must_be_at_least, must_be_choices, must_be_decays, must_be_positive
from zoo.objectives import OBJECTIVES, Objective
from zoo.regularizers import REGULARIZERS, Discriminator, Regularizer, Scored

ObjectiveName = Literal[
    "non_saturating", "minimax", "least_squares", "hinge", "wasserstein", "relativistic", "softmax"
]
RegularizerName = Literal["none", "gradient_penalty", "r1", "r2", "r1+r2"]
TransformName = Literal["colour", "translation", "cutout", "flip", "rotation", "scale"]
ScheduleName = Literal["constant", "linear", "cosine"]
OptimizerName = Literal["adam", "sgd"]

DISTRIBUTIONS: dict[str, Callable[[tuple[int, int], torch.device | str], Tensor]] = {
    "normal": lambda size, device: torch.randn(size, device=device),
    "uniform": lambda size, device: torch.rand(size, device=device).sub(0.5).mul(math.sqrt(12)),
}
"""Distributions of latents (N, latent_size) of mean 0 and variance 1; uniform is from -sqrt(3) to sqrt(3)."""

OPTIMIZERS: dict[str, Callable[[Iterable[Tensor], float, tuple[float, float]], torch.optim.Optimizer]] = {
    "adam": lambda parameters, rate, betas: torch.optim.Adam(parameters, lr=rate, betas=betas),
    "sgd": lambda parameters, rate, betas: torch.optim.SGD(parameters, lr=rate, momentum=betas[0]),
}

SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: (1.0 + math.cos(math.pi * progress)) / 2,
}


@dataclass(frozen=True, kw_only=True)
class TwoPlayerEntry(Entry):
    """Hyperparameters shared by all entries with one generator and one discriminator."""

    added: ClassVar[Mapping[str, Any]] = {"regularizer_interval": 1}

    latent_size: int = 100
    """Size of the latent, the generator's random input."""

    latent_distribution: DistributionName = "normal"
    """Distribution of the latent: normal or uniform, each with mean 0 and variance 1."""

    objective: ObjectiveName = "non_saturating"
    """Loss functions of the generator and the discriminator."""

    label_smoothing: float = 0.0
    """Amount subtracted from the target 1 of real examples, for cross-entropy objectives (Salimans 2016)."""

    regularizer: RegularizerName = "none"
    """Gradient penalty added to the discriminator's loss."""

    regularizer_weight: float = 10.0
    """Weight of the gradient penalty: lambda for gradient_penalty, gamma for r1 and r2."""

    regularizer_interval: int = 1
    """Discriminator updates for each gradient penalty, which is multiplied by as many (Karras 2020)."""

    spectral_norm: bool = False
    """Apply spectral normalisation to every layer of the discriminator (Miyato 2018)."""

    augment: tuple[TransformName, ...] = ()
    """Random differentiable transforms of the discriminator's input images (Zhao 2020)."""

    augment_target: float = 0.0
    """Apply each transform with a probability that is steered so that the mean sign of the discriminator's
    scores of real images is this value, such as 0.6 (Karras 2020); 0 applies them always. Without --augment,
    the transforms are colour, translation and cutout."""

    augment_ramp: float = 25.0
    """Thousands of real images in which that probability can rise from 0 to 1; 500 in the paper."""

    discriminator_steps: int = 1
    """Discriminator updates for each generator update, each on its own batch."""

    optimizer: OptimizerName = "adam"
    """Optimizer of both networks: adam, or sgd with momentum."""

    learning_rate: float = 2e-4
    """Learning rate of both networks."""

    discriminator_learning_rate: float | None = None
    """Learning rate of the discriminator; by default that of the generator (Heusel 2017)."""

    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates of the first and second moments; sgd uses the first as its momentum."""

    schedule: ScheduleName = "constant"
    """Learning rate schedule: constant, or linear or cosine decay to 0 at the end of the run."""

    def __post_init__(self) -> None:
        must_be_positive(self, "batch_size", "latent_size", "learning_rate", "discriminator_steps")
        must_be_positive(self, "augment_ramp", "regularizer_interval")
        if self.discriminator_learning_rate is not None:
            must_be_positive(self, "discriminator_learning_rate")
        must_be_decays(self, "betas")
        must_be_choices(self)
        self._must_mean_something()

    def _must_mean_something(self) -> None:
        """Check for combinations of values that contradict each other."""
        if not 0 <= self.label_smoothing < 0.5:
            raise ConfigError(f"label_smoothing must be at least 0 and below 0.5; got {self.label_smoothing}")
        if self.label_smoothing and self.objective not in ("non_saturating", "minimax"):
            raise ConfigError(
                "label_smoothing needs an objective of cross-entropy, non_saturating or minimax; "
                f"got {self.objective}"
            )
        if self.regularizer != "none" and self.score_size != 1:
            raise ConfigError(
                f"regularizer must be none with the objective {self.objective}, which has {self.score_size} "
                f"scores per example; got {self.regularizer}"
            )
        if self.objective == "wasserstein" and self.regularizer == "none" and not self.spectral_norm:
            raise ConfigError(
                "the objective wasserstein needs a discriminator with bounded gradients; got regularizer "
                "none without spectral_norm; add --regularizer gradient_penalty or --spectral-norm"
            )
        if self.classes < 0:
            raise ConfigError(f"classes must be at least 0; got {self.classes}")
        must_be_transforms(self.augment, self.augment_target, self.sample_shape)

    @property
    def score_size(self) -> int:
        """Number of scores per example that the objective needs from the discriminator."""
        return OBJECTIVES[self.objective].score_size

    @property
    def examples_per_step(self) -> int:
        """Number of examples in a step: one batch for each discriminator update."""
        return self.batch_size * self.discriminator_steps

    def learning_rate_at(self, progress: float) -> float:
        """Return the schedule's factor on the learning rates at `progress` (0 to 1)."""
        return SCHEDULES[self.schedule](progress)


@dataclass(frozen=True, kw_only=True)
class ImageGANEntry(TwoPlayerEntry):
    """Hyperparameters shared by all GANs of square images."""

    image_size: int = 32
    """Height and width of the images: a power of two, at least 16."""

    channels: int = 0
    """Channels of the images: 1 for greyscale, 3 for RGB. 0 means as many as the data have."""

    def __post_init__(self) -> None:
        super().__post_init__()
        doublings(self.image_size)
        must_be_at_least(self, 0, "channels")

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of an image: (channels, image_size, image_size)."""
        return (self.channels, self.image_size, self.image_size)


class TwoPlayer(Trainer):
    """Trainer that updates a discriminator and then a generator in every step.

    The generator maps `latent`, (N, latent_size), to samples of the data's shape. The discriminator maps
    samples to raw scores, (N, score_size). Both take the entry's conditions as keyword arguments.
    Source: Goodfellow et al. 2014, algorithm 1; Mirza and Osindero 2014 for the conditions.
    """

    def __init__(
        self,
        entry: TwoPlayerEntry,
        generator: nn.Module,
        discriminator: nn.Module,
        device: torch.device | str,
    ) -> None:
        must_have_channels(entry.sample_shape)
        if entry.spectral_norm:
            normalise_spectrally(discriminator)
        must_be_bounded(discriminator, entry.objective, entry.regularizer)
        self.entry, self.device = entry, device
        self.generator = generator.to(device)
        self.augment = open_augment(entry.augment, entry.augment_target, 1000 * entry.augment_ramp)
        self.discriminator = Augmented(discriminator, self.augment).to(device)
        self.generators = nn.ModuleDict({"generator": self.generator})
        self.discriminators = nn.ModuleDict({"discriminator": self.discriminator})
        self.objective: Objective = OBJECTIVES[entry.objective]
        # A loss of 0 at zero scores belongs to an unbounded objective, which can't saturate.
        self.undecided = self.objective.undecided or math.inf
        self.regularizer: Regularizer = REGULARIZERS[entry.regularizer]
        self.regularizer_weight, self.discriminator_updates = entry.regularizer_weight, 0
        create = OPTIMIZERS[entry.optimizer]
        rate = entry.discriminator_learning_rate or entry.learning_rate
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "generator": create(self.generator.parameters(), entry.learning_rate, entry.betas),
            "discriminator": create(self.discriminator.parameters(), rate, entry.betas),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the number of discriminator updates; older states have none."""
        return {"discriminator_updates": self.discriminator_updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `state_dict`."""
        self.discriminator_updates = operator.index(state.get("discriminator_updates", 0))

    def inputs(self, batch: Batch) -> Inputs:
        """Return a new latent for every example of the batch, with the batch's conditions."""
        size = (len(batch["real"]), self.entry.latent_size)
        latent = DISTRIBUTIONS[self.entry.latent_distribution](size, self.device)
        return {"generator": {"latent": latent, **self._conditions_of(batch)}}

    def _conditions_of(self, batch: Batch) -> dict[str, Tensor]:
        return {name: batch[name] for name in self.entry.conditions}

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Update the discriminator on each part of the batch, then the generator on the last part."""
        for part in split(batch, self.entry.discriminator_steps):
            real, discriminator = part["real"], partial(self.discriminator, **self._conditions_of(part))
            fake = self.generator(**self.inputs(part)["generator"])
            scalars = self._update_discriminator(discriminator, real, fake.detach())

        with frozen(self.discriminator):
            generator_loss = self.objective.generator(discriminator(fake), lambda: discriminator(real))
            descend(generator_loss, self.optimizers["generator"])
        return {"generator_loss": generator_loss.detach(), **scalars, **self.augment.adapt()}

    @property
    def is_regularized(self) -> bool:
        """Whether the next update of the discriminator has a gradient penalty."""
        return (self.discriminator_updates + 1) % self.entry.regularizer_interval == 0

    def penalty(self, discriminator: Discriminator, real: Scored, fake: Scored) -> Tensor:
        """Return the weighted regularizer of the discriminator, which is added to its loss; 0 if not due."""
        if not self.is_regularized:
            return real.scores.new_zeros(())
        weight = self.entry.regularizer_interval * self.regularizer_weight
        return weight * self.regularizer.penalty(discriminator, real, fake)

    def _update_discriminator(
        self, discriminator: Discriminator, real: Tensor, fake: Tensor
    ) -> dict[str, Tensor]:
        # Two forward passes: batch normalisation must not mix real and fake examples.
        examples = {"real": real.detach(), "fake": fake.detach()}
        for name in self.regularizer.at if self.double_backward and self.is_regularized else ():
            examples[name].requires_grad_(True)
        real_scores, fake_scores = discriminator(examples["real"]), discriminator(examples["fake"])
        self.augment.observe(self.objective.margins(real_scores, fake_scores))
        loss = self.objective.discriminator(real_scores, fake_scores)
        # Cross-entropy with target 1 - s equals cross-entropy with target 1, plus s times the score.
        smoothing = self.entry.label_smoothing * real_scores.mean()
        penalty = self.penalty(
            discriminator, Scored(examples["real"], real_scores), Scored(examples["fake"], fake_scores)
        )
        descend(loss + smoothing + penalty, self.optimizers["discriminator"])
        self.discriminator_updates += 1
        return {
            "discriminator_loss": loss.detach(),
            "penalty": penalty.detach(),
            "saturation": (1 - loss.detach() / self.undecided).clamp(min=0) * math.isfinite(self.undecided),
            "real_score": real_scores.detach()[:, -1].mean(),
            "fake_score": fake_scores.detach()[:, -1].mean(),
        }


def descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Zero the gradients, backpropagate the loss and take one optimizer step."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


@contextmanager
def frozen(player: nn.Module) -> Iterator[None]:
    """Disable gradients of a player's parameters within the block; gradients still reach its input."""
    learnt = [each for each in player.parameters() if each.requires_grad]
    player.requires_grad_(False)
    try:
        yield
    finally:
        for each in learnt:
            each.requires_grad_(True)
