"""Shared parts of super-resolution entries: fields, and learning from pixels."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.adversarial import SCHEDULES, ScheduleName, descend
from zoo.degradations import DEGRADATIONS, bicubic
from zoo.entry import Batch, Entry, Inputs, Trainer, must_have_channels
from zoo.errors import ConfigError
from zoo.fields import must_be_at_least, must_be_choices, must_be_decays, must_be_positive
from zoo.translation import random_crop

DIRECTION = "upscale"
"""Name of the generator: its translations are larger than their sources."""

SCALES = (2, 4, 8)


@dataclass(frozen=True, kw_only=True)
class SuperResolutionEntry(Entry):
    """Hyperparameters shared by all super-resolution entries. They learn from images without labels."""

    task: ClassVar[Literal["sample", "translate"]] = "translate"

    batch_size: int = 16
    """Crops in a batch."""

    channels: int = 0
    """Channels of the images: 1 for greyscale, 3 for RGB. 0 means as many as the data have."""

    scale: int = 4
    """Height and width of the enlarged images, in multiples of those of their sources: 2, 4 or 8."""

    image_size: int = 128
    """Height and width that the data are fitted to, before they are cropped: a multiple of the scale."""

    crop_size: int = 96
    """Height and width of the random crops to learn from: a multiple of the scale."""

    flip: bool = True
    """Flip and turn the crops at random."""

    degradation: Literal["bicubic", "real"] = "bicubic"
    """How images are reduced to learn from: bicubic, or real, which also blurs them, adds noise and
    compresses them at random, for photographs of unknown quality (Wang et al. 2021)."""

    width: int = 64
    """Channels of the generator's feature maps."""

    blocks: int = 16
    """Blocks of the generator."""

    learning_rate: float = 1e-4
    """Learning rate of all networks (Adam)."""

    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates of the first and second moments."""

    schedule: ScheduleName = "constant"
    """Learning rate schedule: constant, or linear or cosine decay to 0 at the end of the run."""

    def __post_init__(self) -> None:
        must_be_positive(self, "batch_size", "width", "blocks", "image_size", "crop_size", "learning_rate")
        must_be_at_least(self, 0, "channels")
        must_be_decays(self, "betas")
        must_be_choices(self)
        if self.scale not in SCALES:
            raise ConfigError(f"scale must be one of {', '.join(map(str, SCALES))}; got {self.scale}")
        for name in ("image_size", "crop_size"):
            if (size := getattr(self, name)) % self.scale:
                raise ConfigError(f"{name} must be a multiple of the scale, {self.scale}; got {size}")
        if self.crop_size > self.image_size:
            raise ConfigError(
                f"crop_size must be at most the image_size, {self.image_size}; got {self.crop_size}"
            )

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of an image before the random crop: (channels, image_size, image_size)."""
        return (self.channels, self.image_size, self.image_size)

    def learning_rate_at(self, progress: float) -> float:
        """Return the schedule's factor on the learning rate at `progress` (0 to 1)."""
        return SCHEDULES[self.schedule](progress)

    @abstractmethod
    def make_generator(self) -> nn.Module:
        """Build the generator: images (N, C, H, W) in [-1, 1] to ones `scale` times as high and wide."""

    def make_optimizer(self, player: nn.Module) -> torch.optim.Optimizer:
        """Build the Adam optimizer of a network."""
        return torch.optim.Adam(player.parameters(), lr=self.learning_rate, betas=self.betas)

    def crop(self, images: Tensor) -> Tensor:
        """Crop images (N, C, H, W) at random to squares of `crop_size`; flip and turn them if `flip` is set.

        Random numbers are drawn on the CPU, so that no step waits for the device.
        """
        crops = [random_crop(image, self.crop_size, self.crop_size) for image in images]
        return torch.stack([_turned(crop) for crop in crops] if self.flip else crops)


class PixelTrainer(Trainer):
    """Trainer of a generator that enlarges reduced images, by their distance to the originals."""

    def __init__(self, entry: SuperResolutionEntry, device: torch.device | str) -> None:
        must_have_channels(entry.sample_shape)
        self.entry, self.generator = entry, entry.make_generator().to(device)
        self.generators = nn.ModuleDict({DIRECTION: self.generator})
        self.discriminators = nn.ModuleDict()
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "generator": entry.make_optimizer(self.generator)
        }

    def inputs(self, batch: Batch) -> Inputs:
        """Return the images, reduced by bicubic interpolation, as the generator's input."""
        return {DIRECTION: {"image": bicubic(batch["real"], self.entry.scale)}}

    def enlarge(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Crop real images and degrade them; return the crops, and what the generator makes of the others."""
        real = self.entry.crop(batch["real"])
        return real, self.generator(DEGRADATIONS[self.entry.degradation](real, self.entry.scale))

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Enlarge degraded crops, and update the generator by the mean absolute difference."""
        real, fake = self.enlarge(batch)
        distance = F.l1_loss(fake, real)
        descend(distance, self.optimizers["generator"])
        return {"distance": distance.detach()}


class Doubling(nn.Sequential):
    """Doubles the size of feature maps by repeating their values; a convolution and an activation follow."""

    def __init__(self, width: int, activation: nn.Module) -> None:
        super().__init__(nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1), activation)


def _turned(image: Tensor) -> Tensor:
    """Flip and turn a square image (C, S, S) in one of eight ways at random."""
    ways = int(torch.randint(8, ()))
    for way, dimensions in enumerate(([1], [2])):
        image = image.flip(dimensions) if ways & 1 << way else image
    return image.transpose(1, 2) if ways & 4 else image
