"""R3GAN (Huang et al. 2024): relativistic objective, R1 and R2, residual networks without normalisation."""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.adversarial import ImageGANEntry, ObjectiveName, RegularizerName, ScheduleName, TwoPlayer
from zoo.entry import Batch, doublings
from zoo.errors import ConfigError
from zoo.fields import must_be_decays, must_be_positive

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)

SLOPE = 0.2
"""Slope of the leaky ReLUs below 0."""


@dataclass(frozen=True, kw_only=True)
class R3GAN(ImageGANEntry):
    """Regularised relativistic GAN on residual networks without normalisation (Huang et al. 2024).

    Every resolution has residual blocks of grouped convolutions, which are initialised to the identity, and
    resampling is bilinear. The defaults are for short runs on one machine: narrower networks, a larger
    constant gamma, and a learning rate that decays to 0 by a cosine. `R3GANCIFAR10` has the paper's settings.
    """

    width: int = 64
    """Channels of the feature maps at the image size, doubled at each halving, up to 512."""

    blocks: int = 2
    """Residual blocks at each resolution."""

    group_width: int = 16
    """Channels per group of the grouped 3x3 convolutions."""

    latent_size: int = 64
    objective: ObjectiveName = "relativistic"
    regularizer: RegularizerName = "r1+r2"
    regularizer_weight: float = 0.5
    betas: tuple[float, float] = (0.0, 0.99)
    schedule: ScheduleName = "cosine"

    def __post_init__(self) -> None:
        super().__post_init__()
        must_be_positive(self, "width", "blocks", "group_width")
        if any(width % self.group_width for width in self.widths):
            widths = ", ".join(map(str, self.widths))
            raise ConfigError(f"group_width must divide the layer widths {widths}; got {self.group_width}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the feature maps from the image size down to 4x4."""
        most = max(512, self.width)
        return tuple(min(self.width << level, most) for level in range(doublings(self.image_size) + 1))

    def build(self, device: torch.device | str = "cpu") -> TwoPlayer:
        """Build the trainer of both players."""
        return TwoPlayer(self, Generator(self), Discriminator(self), device)


@dataclass(frozen=True, kw_only=True)
class R3GANCIFAR10(R3GAN):
    """R3GAN in the configuration of its CIFAR-10 run, without its augmentation (Huang et al. 2024).

    The learning rate, gamma and Adam's second beta are annealed by a cosine over the first images.
    """

    width: int = 768
    batch_size: int = 512
    learning_rate: float = 2e-4
    regularizer_weight: float = 0.05
    betas: tuple[float, float] = (0.0, 0.9)
    schedule: ScheduleName = "constant"

    annealing_images: int = 20_000_000
    """Number of real images after which the final values are reached."""

    final_learning_rate: float = 5e-5
    """Learning rate of both networks after the annealing."""

    final_regularizer_weight: float = 0.005
    """Weight of the gradient penalty after the annealing."""

    final_betas: tuple[float, float] = (0.0, 0.99)
    """Adam's decay rates of the first and second moments after the annealing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        must_be_positive(self, "annealing_images", "final_learning_rate")
        must_be_decays(self, "final_betas")

    def build(self, device: torch.device | str = "cpu") -> TwoPlayer:
        """Build the trainer of both players."""
        return Annealed(self, Generator(self), Discriminator(self), device)


class Annealed(TwoPlayer):
    """Trainer of two players that anneals the learning rate, gamma and Adam's second beta."""

    entry: R3GANCIFAR10

    def __init__(
        self,
        entry: R3GANCIFAR10,
        generator: nn.Module,
        discriminator: nn.Module,
        device: torch.device | str,
    ) -> None:
        super().__init__(entry, generator, discriminator, device)
        self.images = 0

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Set the annealed values, the learning rate on top of the run's schedule; then run the step."""
        entry = self.entry
        done = (1 - math.cos(math.pi * min(1.0, self.images / entry.annealing_images))) / 2
        rate = _between(1.0, entry.final_learning_rate / entry.learning_rate, done)
        betas = tuple(_between(*ends, done) for ends in zip(entry.betas, entry.final_betas, strict=True))
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] *= rate
                group["betas"] = betas
        self.regularizer_weight = _between(entry.regularizer_weight, entry.final_regularizer_weight, done)
        self.images += entry.examples_per_step
        return super().step(batch)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of real images."""
        return super().state_dict() | {"images": self.images}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the number of real images."""
        super().load_state_dict(state)
        self.images = operator.index(state["images"])


class Generator(nn.Module):
    """R3GAN generator: latents (N, latent_size) to images (N, C, H, W), approximately in [-1, 1].

    There is no output activation.
    """

    def __init__(self, entry: R3GAN) -> None:
        super().__init__()
        widths = entry.widths[::-1]
        self.basis = nn.Parameter(torch.randn(widths[0], 4, 4))
        self.gains = linear(entry.latent_size, widths[0])
        stages = blocks(entry, widths[0])
        for before, after in pairwise(widths):
            # The 1x1 convolution commutes with the upsampling and is cheaper before it.
            stages += [*widen(before, after), Resample("double"), *blocks(entry, after)]
        self.stages = nn.Sequential(*stages, convolution(widths[-1], entry.channels))

    def forward(self, latent: Tensor) -> Tensor:
        """Scale the learned 4x4 feature maps by a projection of the latent and upsample them."""
        images: Tensor = self.stages(self.gains(latent)[:, :, None, None] * self.basis)
        return images


class Discriminator(nn.Module):
    """R3GAN discriminator: images (N, C, H, W) to raw scores (N, score_size)."""

    def __init__(self, entry: R3GAN) -> None:
        super().__init__()
        widths = entry.widths
        stages = [convolution(entry.channels, widths[0]), *blocks(entry, widths[0])]
        for before, after in pairwise(widths):
            stages += [Resample("half"), *widen(before, after), *blocks(entry, after)]
        # A depthwise 4x4 convolution reduces each of the last feature maps to one number.
        basis = nn.Conv2d(widths[-1], widths[-1], 4, groups=widths[-1], bias=False)
        self.stages = nn.Sequential(
            *stages,
            scaled(basis),
            nn.Flatten(),
            linear(widths[-1], entry.score_size),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Downsample the image to 4x4 and then to one position."""
        scores: Tensor = self.stages(image)
        return scores


class Block(nn.Module):
    """Residual block, the identity at initialisation.

    A 1x1 convolution to twice the width, a grouped 3x3 convolution and a 1x1 convolution back.
    """

    def __init__(self, width: int, group_width: int, gain: float) -> None:
        super().__init__()
        inner = 2 * width
        grouped = nn.Conv2d(inner, inner, 3, padding=1, groups=inner // group_width)
        self.residual = nn.Sequential(
            scaled(nn.Conv2d(width, inner, 1), gain),
            nn.LeakyReLU(SLOPE),
            scaled(grouped, gain),
            nn.LeakyReLU(SLOPE),
            convolution(inner, width, gain=0.0),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Add the residual to the feature maps."""
        total: Tensor = maps + self.residual(maps)
        return total


class Resample(nn.Module):
    """Resampling of feature maps (N, C, H, W) by 2 with the low-pass filter (1, 3, 3, 1) / 8 in both axes.

    Upsampling with it is bilinear. Zeros are assumed beyond the border.
    """

    kernel: Tensor

    def __init__(self, to: Literal["double", "half"]) -> None:
        super().__init__()
        self.resample, gain = RESAMPLINGS[to]
        weights = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("kernel", gain * torch.outer(weights, weights)[None, None], persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the feature maps at the new size."""
        channels = maps.shape[1]
        kernel = self.kernel.to(maps.dtype).expand(channels, -1, -1, -1)
        return self.resample(maps, kernel, stride=2, padding=1, groups=channels)


RESAMPLINGS: dict[str, tuple[Callable[..., Tensor], float]] = {
    "double": (F.conv_transpose2d, 4.0),
    "half": (F.conv2d, 1.0),
}
"""Function and gain of each resampling."""


def _between(first: float, last: float, share: float) -> float:
    return first + share * (last - first)


def blocks(entry: R3GAN, width: int) -> list[nn.Module]:
    """Build the residual blocks of one resolution; the gain falls with their number (Zhang et al. 2019)."""
    number = entry.blocks * len(entry.widths)
    gain = nn.init.calculate_gain("leaky_relu", SLOPE) * number**-0.25
    return [Block(width, entry.group_width, gain) for _ in range(entry.blocks)]


def widen(before: int, after: int) -> list[nn.Module]:
    """Return a 1x1 convolution that changes the number of channels, or nothing if it is the same."""
    return [] if before == after else [convolution(before, after)]


def convolution(before: int, after: int, gain: float = 1.0) -> nn.Conv2d:
    """Build a 1x1 convolution without bias."""
    return scaled(nn.Conv2d(before, after, 1, bias=False), gain)


def linear(before: int, after: int) -> nn.Linear:
    """Build a linear layer without bias."""
    return scaled(nn.Linear(before, after, bias=False))


def scaled(layer: Layer, gain: float = 1.0) -> Layer:
    """Draw a layer's weights from N(0, gain^2 / inputs of a unit) and set its bias to 0 (He et al. 2015)."""
    nn.init.normal_(layer.weight, std=gain * layer.weight[0].numel() ** -0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
