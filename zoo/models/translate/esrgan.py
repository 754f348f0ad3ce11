"""ESRGAN (Wang et al. 2018): super-resolution by residual-in-residual dense blocks and a discriminator."""

import operator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.adversarial import descend, frozen
from zoo.efficientnet import Frozen, must_be_loaded
from zoo.entry import Batch
from zoo.errors import ConfigError
from zoo.fields import must_be_at_least, must_be_positive
from zoo.super_resolution import Doubling, PixelTrainer, SuperResolutionEntry

RESIDUAL = 0.2
"""Factor of the residuals of dense blocks and of the groups of three."""

LEAST = 4
"""Smallest height and width of the discriminator's last feature maps."""

MOST_WIDER = 8
"""Channels of the discriminator's last feature maps, in multiples of its width."""


@dataclass(frozen=True, kw_only=True)
class ESRGAN(SuperResolutionEntry):
    """Super-resolution with a perceptual and a relativistic adversarial loss (Wang et al. 2018).

    The pretrained network of the perceptual loss is EfficientNet-Lite0, where the paper has VGG-19.
    """

    pretrained: ClassVar[str | None] = "efficientnet"

    blocks: int = 23
    crop_size: int = 128

    growth: int = 32
    """Channels that each convolution of a dense block adds."""

    discriminator_width: int = 64
    """Channels of the discriminator's first feature maps."""

    pixel_steps: int = 5000
    """First steps, in which the generator learns from pixels only."""

    pixel_weight: float = 0.01
    """Weight of the L1 distance to the originals after these steps."""

    perceptual_weight: float = 1.0
    """Weight of the distance of the features of the pretrained network."""

    adversarial_weight: float = 0.005
    """Weight of the adversarial loss."""

    def __post_init__(self) -> None:
        super().__post_init__()
        must_be_positive(self, "growth", "discriminator_width")
        weights = ("pixel_weight", "perceptual_weight", "adversarial_weight")
        must_be_at_least(self, 0, "pixel_steps", *weights)
        if self.crop_size < 2 * LEAST:
            raise ConfigError(f"crop_size must be at least {2 * LEAST}; got {self.crop_size}")

    def build(self, device: torch.device | str = "cpu") -> "PerceptualTrainer":
        """Build the trainer; weights of dense blocks follow He et al. 2015, times 0.1, and others PyTorch."""
        return PerceptualTrainer(self, device)

    def make_generator(self) -> nn.Module:
        """Build the generator of residual-in-residual dense blocks."""
        return Generator(self)


class PerceptualTrainer(PixelTrainer):
    """Trainer that updates a generator by pixels at first, and then by a discriminator and features, too.

    Source: Wang et al. 2018, section 3.
    """

    entry: ESRGAN
    pretrained: Frozen | None = None

    def __init__(self, entry: ESRGAN, device: torch.device | str) -> None:
        super().__init__(entry, device)
        self.discriminator = Discriminator(entry).to(device)
        self.discriminators["discriminator"] = self.discriminator
        self.optimizers["discriminator"] = entry.make_optimizer(self.discriminator)
        self.device, self.done = device, 0

    def load_pretrained(self, weights: dict[str, Tensor]) -> None:
        """Load the weights of the network of the perceptual loss, by the names of `efficientnet.Network`."""
        self.pretrained = Frozen(weights, self.device)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps."""
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the number of steps."""
        self.done = operator.index(state["done"])

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Update the generator by pixels; or the generator, and then the discriminator."""
        self.done += 1
        if self.done <= self.entry.pixel_steps:
            return super().step(batch)
        real, fake = self.enlarge(batch)
        real_scores = self.discriminator(real)
        scalars = self._update_generator(real, fake, real_scores.detach())
        loss = relativistic(real_scores, self.discriminator(fake.detach()))
        descend(loss, self.optimizers["discriminator"])
        return scalars | {"discriminator_loss": loss.detach()}

    def _update_generator(self, real: Tensor, fake: Tensor, real_scores: Tensor) -> dict[str, Tensor]:
        entry = self.entry
        with frozen(self.discriminator):
            adversarial = relativistic(self.discriminator(fake), real_scores)
            distance, perceptual = F.l1_loss(fake, real), self._perceptual_loss(real, fake)
            loss = (
                entry.pixel_weight * distance
                + entry.perceptual_weight * perceptual
                + entry.adversarial_weight * adversarial
            )
            descend(loss, self.optimizers["generator"])
        return {
            "generator_loss": adversarial.detach(),
            "distance": distance.detach(),
            "perceptual_distance": perceptual.detach(),
        }

    def _perceptual_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the mean over feature maps of their L1 distance, relative to those of the real images.

        Raises:
            ConfigError: the weights of the pretrained network were not loaded.
        """
        network, size = must_be_loaded(self.pretrained), -(-real.shape[2] // 32) * 32
        with torch.no_grad():
            wanted = network(real, size)
        found = network(fake, size)
        ratios = [F.l1_loss(a, b) / b.abs().mean() for a, b in zip(found, wanted, strict=True)]
        return torch.stack(ratios).mean()


def relativistic(higher: Tensor, lower: Tensor) -> Tensor:
    """Return the loss of scores that should be higher than the mean of others, and of these lower.

    Source: Jolicoeur-Martineau 2019, the average relativistic loss; Wang et al. 2018, section 3.2.
    """
    return (F.softplus(lower.mean() - higher).mean() + F.softplus(lower - higher.mean()).mean()) / 2


class Generator(nn.Module):
    """RRDB generator: images (N, C, H, W) to images `scale` times as high and wide (Wang 2018, fig. 4)."""

    def __init__(self, entry: ESRGAN) -> None:
        super().__init__()
        width = entry.width
        self.first = nn.Conv2d(entry.channels, width, 3, padding=1)
        groups = (Residual(*(Dense(width, entry.growth) for _ in range(3))) for _ in range(entry.blocks))
        self.blocks = nn.Sequential(*groups, nn.Conv2d(width, width, 3, padding=1))
        self.enlarge = nn.Sequential(
            *(Doubling(width, nn.LeakyReLU(0.2)) for _ in range(entry.scale.bit_length() - 1)),
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, entry.channels, 3, padding=1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Enlarge the images."""
        maps = self.first(image)
        images: Tensor = self.enlarge(maps + self.blocks(maps))
        return images


class Residual(nn.Sequential):
    """Layers whose output, times 0.2, is added to their input."""

    def forward(self, maps: Tensor) -> Tensor:
        """Return the maps plus the residual."""
        residual = maps
        for layer in self:
            residual = layer(residual)
        return maps + RESIDUAL * residual


class Dense(nn.Module):
    """Dense block: five convolutions, each of the input and of the outputs of all before it."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(width + number * growth, growth if number < 4 else width, 3, padding=1)
            for number in range(5)
        )
        for layer in self.layers:
            assert isinstance(layer, nn.Conv2d)
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
            layer.weight.data *= 0.1

    def forward(self, maps: Tensor) -> Tensor:
        """Return the maps plus the residual, times 0.2."""
        known = [maps]
        for layer in self.layers[:-1]:
            known.append(F.leaky_relu(layer(torch.cat(known, 1)), 0.2))
        total: Tensor = maps + RESIDUAL * self.layers[-1](torch.cat(known, 1))
        return total


class Discriminator(nn.Sequential):
    """VGG-style discriminator: crops (N, C, S, S) to raw scores (N, 1).

    Convolutions in pairs, the second of which halves the size, down to feature maps of 4x4 to 7x7.
    """

    def __init__(self, entry: ESRGAN) -> None:
        width, size, layers = entry.discriminator_width, entry.crop_size, list[nn.Module]()
        before, after = entry.channels, width
        while size >= 2 * LEAST:
            layers += [
                *_activated(nn.Conv2d(before, after, 3, padding=1, bias=not layers), norm=bool(layers)),
                *_activated(nn.Conv2d(after, after, 4, 2, 1, bias=False), norm=True),
            ]
            before, after, size = after, min(2 * after, MOST_WIDER * width), size // 2
        super().__init__(
            *layers, nn.Flatten(), nn.Linear(before * size**2, 100), nn.LeakyReLU(0.2), nn.Linear(100, 1)
        )


def _activated(convolution: nn.Conv2d, norm: bool) -> tuple[nn.Module, ...]:
    norms = [nn.BatchNorm2d(convolution.out_channels)] if norm else []
    return convolution, *norms, nn.LeakyReLU(0.2)
