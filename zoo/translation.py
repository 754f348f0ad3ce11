"""What games of image-to-image translation share: their fields, their networks, and the random crop."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from zoo.entry import Entry
from zoo.errors import ConfigError
from zoo.fields import must_be_choices, must_be_positive
from zoo.translators import TRANSLATORS, PatchDiscriminator, TranslatorName, initialise


@dataclass(frozen=True, kw_only=True)
class TranslationEntry(Entry):
    """Hyperparameters that every game of translation shares."""

    task: ClassVar[Literal["sample", "translate"]] = "translate"

    batch_size: int = 1
    """Examples of either domain in a batch."""

    channels: int = 3
    """Channels of an image: 1 for grey, 3 for colour."""

    image_size: tuple[int, int] = (256, 256)
    """Height and width of the crops that are trained on; multiples of 4, or of a U-Net's own size."""

    resize: float = 286 / 256
    """Size that images are brought to before they are cropped at random, in crops: 286 pixels for 256."""

    flip: bool = True
    """Mirror half of the images left to right."""

    translator: TranslatorName = "resnet-9"
    """The generators' network: resnet-9, resnet-6 (for 128x128 and below), or a unet-SIZE."""

    width: int = 64
    """Channels of a generator's first feature maps."""

    discriminator_width: int = 64
    """Channels of a discriminator's first feature maps."""

    discriminator_layers: int = 3
    """Halvings in a discriminator: it judges patches of 70x70 with 3, of 34x34 with 2, of 16x16 with 1."""

    learning_rate: float = 2e-4
    """Adam's learning rate, for every player."""

    betas: tuple[float, float] = (0.5, 0.999)
    """Adam's decay rates of the first and the second moment."""

    def __post_init__(self) -> None:
        numbers = ("batch_size", "channels", "width", "discriminator_width", "discriminator_layers")
        must_be_positive(self, *numbers, "learning_rate")
        must_be_choices(self)
        if not 1 <= self.resize <= 16:
            raise ConfigError(f"resize must be from 1, the crop's own size, to 16; got {self.resize}")
        height, width = self.image_size
        if min(height, width) < self.least or height % self.multiple or width % self.multiple:
            raise ConfigError(
                f"image_size must be multiples of {self.multiple}, at least {self.least}, "
                f"for {self.translator}; got {height}x{width}"
            )
        if min(height, width) < 3 * 2**self.discriminator_layers:
            raise ConfigError(
                f"discriminator_layers must leave 3x3 of an image; {self.discriminator_layers} halvings of "
                f"{height}x{width} leave less"
            )

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Images of the size that is cropped from."""
        return (self.channels, *(round(side * self.resize) for side in self.image_size))

    @property
    def scored_shape(self) -> tuple[int, ...]:
        """Images of the size that is cropped to."""
        return (self.channels, *self.image_size)

    @property
    def multiple(self) -> int:
        """How often the translator halves an image, as a factor."""
        return TRANSLATORS[self.translator].multiple

    @property
    def least(self) -> int:
        """What leaves the translator enough in the middle."""
        return TRANSLATORS[self.translator].least

    def make_translator(self) -> nn.Module:
        """Make a generator, its weights drawn from N(0, 0.02)."""
        network = TRANSLATORS[self.translator].make(self.channels, self.width)
        return network.apply(initialise)

    def make_discriminator(self, channels: int) -> nn.Module:
        """Make a discriminator of images of so many channels, its weights drawn from N(0, 0.02)."""
        network = PatchDiscriminator(channels, self.discriminator_width, self.discriminator_layers)
        return network.apply(initialise)

    def make_optimizer(self, players: nn.Module) -> torch.optim.Optimizer:
        """Make what all of these players descend by."""
        return torch.optim.Adam(players.parameters(), lr=self.learning_rate, betas=self.betas)

    def crop(self, images: Tensor) -> Tensor:
        """Crop images (N, C, H, W) at random to `image_size`; where `flip` says so, mirror half of them.

        The draws are the CPU's, so that nothing waits for another device.
        """
        height, width = self.image_size
        crops = []
        for image in images:
            top = int(torch.randint(image.shape[1] - height + 1, ()))
            left = int(torch.randint(image.shape[2] - width + 1, ()))
            crop = image[:, top : top + height, left : left + width]
            crops.append(crop.flip(2) if self.flip and torch.rand(()) < 0.5 else crop)
        return torch.stack(crops)

    def center(self, images: Tensor) -> Tensor:
        """Crop images (N, C, H, W) in the middle to `image_size`."""
        height, width = self.image_size
        top, left = (images.shape[2] - height) // 2, (images.shape[3] - width) // 2
        return images[:, :, top : top + height, left : left + width]
