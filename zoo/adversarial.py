"""The game of two players, latent in and sample out, whatever their networks are."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from zoo.augment import Augmented
from zoo.entry import Batch, DistributionName, Entry, Inputs, Trainer, doublings
from zoo.errors import ConfigError
from zoo.fields import must_be_choices, must_be_positive
from zoo.objectives import OBJECTIVES, Objective
from zoo.regularizers import REGULARIZERS, Discriminator, Regularizer

ObjectiveName = Literal[
    "non_saturating", "minimax", "least_squares", "hinge", "wasserstein", "relativistic", "softmax"
]
RegularizerName = Literal["none", "gradient_penalty", "r1", "r2", "r1+r2"]
TransformName = Literal["colour", "translation", "cutout", "flip"]
ScheduleName = Literal["constant", "linear", "cosine"]
OptimizerName = Literal["adam", "sgd"]

DISTRIBUTIONS: dict[str, Callable[[tuple[int, int], torch.device | str], Tensor]] = {
    "normal": lambda size, device: torch.randn(size, device=device),
    "uniform": lambda size, device: torch.rand(size, device=device).sub(0.5).mul(math.sqrt(12)),
}
"""Ways to draw latents (N, latent_size), each of mean 0 and variance 1; uniform is -sqrt(3) to sqrt(3)."""

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
    """Hyperparameters that every game of a generator and a discriminator shares."""

    conditions: ClassVar[tuple[str, ...]] = ()
    """What of a batch both players are told beside their own input, by name."""

    latent_size: int = 100
    """Numbers in a latent, the generator's random input."""

    latent_distribution: DistributionName = "normal"
    """What a latent's numbers are drawn from, mean 0 and variance 1: normal or uniform."""

    objective: ObjectiveName = "non_saturating"
    """What the players play for."""

    label_smoothing: float = 0.0
    """How far below 1 the target of real examples lies, for the cross-entropy objectives (Salimans 2016)."""

    regularizer: RegularizerName = "none"
    """Penalty on the discriminator's gradient, added to its loss."""

    regularizer_weight: float = 10.0
    """Weight of the penalty: lambda of gradient_penalty, gamma of r1 and r2."""

    spectral_norm: bool = False
    """Divide every weight of the discriminator by its largest singular value (Miyato 2018)."""

    augment: tuple[TransformName, ...] = ()
    """Random transforms of whatever image the discriminator sees (Zhao 2020)."""

    discriminator_steps: int = 1
    """Updates of the discriminator before each one of the generator, each on a batch of its own."""

    optimizer: OptimizerName = "adam"
    """How both players descend: adam, or sgd with momentum."""

    learning_rate: float = 2e-4
    """The optimizer's learning rate, for both players."""

    discriminator_learning_rate: float | None = None
    """The discriminator's own learning rate, where it has one (Heusel 2017)."""

    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates of the first and the second moment; the first is sgd's momentum."""

    schedule: ScheduleName = "constant"
    """How the learning rates go from their values, constant, or to 0 at the end, linear or cosine."""

    def __post_init__(self) -> None:
        must_be_positive(self, "batch_size", "latent_size", "learning_rate", "discriminator_steps")
        must_be_choices(self)
        self._must_mean_something()

    def _must_mean_something(self) -> None:
        """Refuse combinations whose parts contradict each other."""
        if not 0 <= self.label_smoothing < 0.5:
            raise ConfigError(f"label_smoothing must be at least 0 and below 0.5; got {self.label_smoothing}")
        if self.label_smoothing and self.objective not in ("non_saturating", "minimax"):
            raise ConfigError(
                f"label_smoothing moves a probability's target, and {self.objective} has none; "
                "use non_saturating or minimax"
            )
        if self.regularizer != "none" and self.score_size != 1:
            raise ConfigError(f"{self.regularizer} is the gradient of one score; {self.objective} has more")
        if self.objective == "wasserstein" and self.regularizer == "none" and not self.spectral_norm:
            raise ConfigError(
                "wasserstein wants a discriminator of bounded slope; add --regularizer gradient_penalty "
                "or --spectral-norm"
            )
        if "label" in self.conditions and self.classes < 1:
            raise ConfigError(f"an entry that is told labels must have classes; got {self.classes}")
        if self.augment and len(self.sample_shape) != 3:
            raise ConfigError(f"augment transforms images; this entry makes vectors of {self.sample_shape}")

    @property
    def score_size(self) -> int:
        """Scores that the objective wants from the discriminator for each example."""
        return OBJECTIVES[self.objective].score_size

    @property
    def examples_per_step(self) -> int:
        """A batch for each update of the discriminator."""
        return self.batch_size * self.discriminator_steps

    def learning_rate_at(self, progress: float) -> float:
        """Follow the schedule."""
        return SCHEDULES[self.schedule](progress)


@dataclass(frozen=True, kw_only=True)
class ImageGANEntry(TwoPlayerEntry):
    """Hyperparameters that every GAN of square images shares."""

    image_size: int = 32
    """Height and width of an image: a power of two, at least 16."""

    channels: int = 3
    """Channels of an image: 1 for grey, 3 for colour."""

    def __post_init__(self) -> None:
        super().__post_init__()
        doublings(self.image_size)
        must_be_positive(self, "channels")

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Square images."""
        return (self.channels, self.image_size, self.image_size)


class TwoPlayer(Trainer):
    """Train a generator against a discriminator by alternate updates, the discriminator first.

    The generator maps `latent`, (N, latent_size), to samples of the data's shape; the discriminator maps
    those to raw scores, (N, score_size). Both take the entry's conditions as named arguments.
    Source: Goodfellow et al. 2014, algorithm 1; Mirza and Osindero 2014 for the conditions.
    """

    def __init__(
        self,
        entry: TwoPlayerEntry,
        generator: nn.Module,
        discriminator: nn.Module,
        device: torch.device | str,
    ) -> None:
        if entry.spectral_norm:
            normalise_spectrally(discriminator)
        if entry.regularizer == "gradient_penalty" and _ties_examples(discriminator):
            raise ConfigError(
                "gradient_penalty wants a gradient for each example, which batch normalisation in the "
                "discriminator ties to its batch; use r1, or a discriminator without it"
            )
        self.entry, self.device = entry, device
        self.generator = generator.to(device)
        self.discriminator = Augmented(discriminator, entry.augment).to(device)
        self.generators = nn.ModuleDict({"generator": self.generator})
        self.discriminators = nn.ModuleDict({"discriminator": self.discriminator})
        self.objective: Objective = OBJECTIVES[entry.objective]
        # Where an undecided discriminator has no loss, its loss has no end either: it can't saturate.
        self.undecided = self.objective.undecided or math.inf
        self.regularizer: Regularizer = REGULARIZERS[entry.regularizer]
        rates = {
            "generator": entry.learning_rate,
            "discriminator": entry.discriminator_learning_rate or entry.learning_rate,
        }
        players = {"generator": self.generator, "discriminator": self.discriminator}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            name: OPTIMIZERS[entry.optimizer](players[name].parameters(), rate, entry.betas)
            for name, rate in rates.items()
        }

    def inputs(self, batch: Batch) -> Inputs:
        """Draw a latent for every example of the batch, beside what the batch says of it."""
        size = (len(batch["real"]), self.entry.latent_size)
        latent = DISTRIBUTIONS[self.entry.latent_distribution](size, self.device)
        return {"generator": {"latent": latent, **self._told(batch)}}

    def _told(self, batch: Batch) -> dict[str, Tensor]:
        return {name: batch[name] for name in self.entry.conditions}

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Update the discriminator on each part of the batch, then the generator on the last part's fakes."""
        for part in split(batch, self.entry.discriminator_steps):
            real, judge = part["real"], partial(self.discriminator, **self._told(part))
            fake = self.generator(**self.inputs(part)["generator"])
            scalars = self._update_discriminator(judge, real, fake.detach())

        with frozen(self.discriminator):
            generator_loss = self.objective.generator(judge(fake), lambda: judge(real))
            descend(generator_loss, self.optimizers["generator"])
        return {"generator_loss": generator_loss.detach(), **scalars}

    def _update_discriminator(self, judge: Discriminator, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        # Two forwards: batch normalisation must not see real and fake in one batch.
        real_scores, fake_scores = judge(real), judge(fake)
        loss = self.objective.discriminator(real_scores, fake_scores)
        # Cross-entropy with the target 1 - s is that with the target 1, and s times the score.
        smoothing = self.entry.label_smoothing * real_scores.mean()
        penalty = self.entry.regularizer_weight * self.regularizer(judge, real, fake)
        descend(loss + smoothing + penalty, self.optimizers["discriminator"])
        return {
            "discriminator_loss": loss.detach(),
            "penalty": penalty.detach(),
            "saturation": (1 - loss.detach() / self.undecided).clamp(min=0) * math.isfinite(self.undecided),
            "real_score": real_scores.detach()[:, -1].mean(),
            "fake_score": fake_scores.detach()[:, -1].mean(),
        }


def split(batch: Batch, parts: int) -> Iterator[Batch]:
    """Cut every tensor of a batch into as many equal parts."""
    chunks = {name: value.chunk(parts) for name, value in batch.items()}
    for index in range(parts):
        yield {name: value[index] for name, value in chunks.items()}


def normalise_spectrally(player: nn.Module) -> None:
    """Put spectral normalisation on every linear, convolutional and embedding layer."""
    for module in list(player.modules()):
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding):
            nn.utils.parametrizations.spectral_norm(module)


def _ties_examples(player: nn.Module) -> bool:
    return any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in player.modules())


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
