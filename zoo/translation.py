"""Shared parts of image-to-image translation entries: fields, networks and the random crop."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from zoo.entry import DomainShapes, Entry
from zoo.errors import ConfigError
from zoo.fields import must_be_choices, must_be_decays, must_be_positive
from zoo.translators import TRANSLATORS, PatchDiscriminator, TranslatorName, UpsampleName, initialise

Direction = Literal["a2b", "b2a"]


@dataclass(frozen=True, kw_only=True)
class TranslationEntry(Entry):
    """Hyperparameters shared by all image-to-image translation entries."""

    task: ClassVar[Literal["sample", "translate"]] = "translate"

    former: ClassVar[Mapping[str, tuple[str, ...]]] = {"channels": ("channels_a", "channels_b")}

    added: ClassVar[Mapping[str, Any]] = {"upsample": "transposed"}

    batch_size: int = 1
    """Images of each domain in a batch."""

    channels_a: int = 3
    """Channels of the images of domain a: 1 for greyscale, 3 for RGB."""

    channels_b: int = 3
    """Channels of the images of domain b: 1 for greyscale, 3 for RGB."""

    image_size: tuple[int, int] = (256, 256)
    """Height and width of the training crops: multiples of 4 for a ResNet, of SIZE for a unet-SIZE."""

    resize: float = 286 / 256
    """Size of the images before the random crop, relative to the crop: 286/256 gives 286 pixels for 256."""

    flip: bool = True
    """Flip images horizontally with probability 0.5."""

    translator: TranslatorName = "resnet-9"
    """Network of the generators: resnet-9, resnet-6 (for 128x128 and below) or a unet-SIZE."""

    upsample: UpsampleName = "transposed"
    """How a ResNet doubles the size: by transposed convolutions; resize, repeated values and a convolution;
    or antialiased, the same with a blur, and one before the size is halved."""

    width: int = 64
    """Channels of the generators' first feature maps."""

    discriminator_width: int = 64
    """Channels of the discriminators' first feature maps."""

    discriminator_layers: int = 3
    """Strided layers of a discriminator: 3 score patches of 70x70 pixels, 2 of 34x34, 1 of 16x16."""

    learning_rate: float = 2e-4
    """Learning rate of all networks (Adam)."""

    betas: tuple[float, float] = (0.5, 0.999)
    """Adam's decay rates of the first and second moments."""

    def __post_init__(self) -> None:
        sizes = ("batch_size", "width", "discriminator_width", "discriminator_layers")
        must_be_positive(self, *sizes, "channels_a", "channels_b", "learning_rate")
        must_be_decays(self, "betas")
        must_be_choices(self)
        if self.upsample not in (known := TRANSLATORS[self.translator].upsamplers):
            raise ConfigError(
                f"upsample must be {' or '.join(known)} for {self.translator}; got {self.upsample}"
            )
        if not 1 <= self.resize <= 16:
            raise ConfigError(f"resize must be from 1 to 16; got {self.resize}")
        height, width = self.image_size
        if min(height, width) < self.least or height % self.multiple or width % self.multiple:
            raise ConfigError(
                f"image_size must be two multiples of {self.multiple}, each at least {self.least}, for "
                f"{self.translator}; got {height}x{width}"
            )
        if min(height, width) < 3 * 2**self.discriminator_layers:
            raise ConfigError(
                f"discriminator_layers must be at most {(min(height, width) // 3).bit_length() - 1} for "
                f"{height}x{width} images; got {self.discriminator_layers}"
            )

    @property
    def sample_shape(self) -> DomainShapes:
        """Shapes of the images of both domains before the random crop."""
        return self._shapes(*(round(side * self.resize) for side in self.image_size))

    @property
    def scored_shape(self) -> DomainShapes:
        """Shapes of the images of both domains after the crop."""
        return self._shapes(*self.image_size)

    def _shapes(self, height: int, width: int) -> DomainShapes:
        return DomainShapes((self.channels_a, height, width), (self.channels_b, height, width))

    @property
    def multiple(self) -> int:
        """Factor by which the translator downsamples an image."""
        return TRANSLATORS[self.translator].multiple

    @property
    def least(self) -> int:
        """Smallest height and width that the translator accepts."""
        return TRANSLATORS[self.translator].least

    def make_translator(self, channels: int, translated: int) -> nn.Module:
        """Build a generator of images of `channels` channels to images of `translated` channels.

        The weights are drawn from N(0, 0.02).
        """
        kind = TRANSLATORS[self.translator]
        chosen = {"upsample": self.upsample} if len(kind.upsamplers) > 1 else {}
        network = kind.make(channels, translated, self.width, **chosen)
        return network.apply(initialise)

    def make_discriminator(self, channels: int) -> nn.Module:
        """Build a patch discriminator of images of `channels` channels, weights drawn from N(0, 0.02)."""
        network = PatchDiscriminator(channels, self.discriminator_width, self.discriminator_layers)
        return network.apply(initialise)

    def make_optimizer(self, players: nn.Module) -> torch.optim.Optimizer:
        """Build one Adam optimizer for the parameters of all these players."""
        return torch.optim.Adam(players.parameters(), lr=self.learning_rate, betas=self.betas)

    def crop(self, images: Tensor) -> Tensor:
        """Crop images (N, C, H, W) at random to `image_size` and, if `flip` is set, flip them at random.

        Random numbers are drawn on the CPU, so that no step waits for the device.
        """
        crops = []
        for image in images:
            crop = random_crop(image, *self.image_size)
            crops.append(crop.flip(2) if self.flip and torch.rand(()) < 0.5 else crop)
        return torch.stack(crops)

    def center(self, images: Tensor) -> Tensor:
        """Crop images (N, C, H, W) to `image_size` at the centre."""
        height, width = self.image_size
        top, left = (images.shape[2] - height) // 2, (images.shape[3] - width) // 2
        return images[:, :, top : top + height, left : left + width]


def random_crop(image: Tensor, height: int, width: int) -> Tensor:
    """Crop an image (C, H, W) at a random place, drawn on the CPU."""
    top = int(torch.randint(image.shape[1] - height + 1, ()))
    left = int(torch.randint(image.shape[2] - width + 1, ()))
    return image[:, top : top + height, left : left + width]
