"""SNGAN with projection (Miyato and Koyama 2018): class-conditional residual networks."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from zoo.entry import doublings
from zoo.models import sngan


@dataclass(frozen=True, kw_only=True)
class SNGANProjection(sngan.SNGAN):
    """Class-conditional SNGAN with a projection discriminator (Miyato and Koyama 2018)."""

    conditions: ClassVar[tuple[str, ...]] = ("label",)

    classes: int = 0
    """Number of classes; the generator takes a class label for every image. 0 means as many as the data
    have."""

    def networks(self) -> tuple[nn.Module, nn.Module]:
        """Build the residual generator with conditional normalisation and the projection discriminator."""
        _, plain = super().networks()
        assert isinstance(plain, nn.Sequential)
        return Generator(self), Discriminator(self, plain)


class Generator(nn.Module):
    """Conditional generator: latents (N, latent_size) and labels (N,) to images (N, C, H, W) in [-1, 1]."""

    def __init__(self, entry: SNGANProjection) -> None:
        super().__init__()
        self.width = width = entry.generator_width
        self.first = nn.Linear(entry.latent_size, width * 16)
        number = doublings(entry.image_size)
        self.blocks = nn.ModuleList(Block(width, entry.classes) for _ in range(number))
        self.last = nn.Sequential(
            nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, entry.channels, 3, padding=1), nn.Tanh()
        )

    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        """Project the latent to 4x4 feature maps and upsample them in blocks that know the label."""
        maps = self.first(latent).reshape(-1, self.width, 4, 4)
        for block in self.blocks:
            maps = block(maps, label)
        images: Tensor = self.last(maps)
        return images


class Block(nn.Module):
    """Residual block that doubles the size, with conditional batch normalisation."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(width, width, 1)
        self.norms = nn.ModuleList(ConditionalBatchNorm(width, classes) for _ in range(2))
        self.residual = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, maps: Tensor, label: Tensor) -> Tensor:
        """Return the sum of the shortcut and the residual."""
        residual = _doubled(F.relu(self.norms[0](maps, label)))
        residual = F.relu(self.norms[1](self.residual[0](residual), label))
        total: Tensor = self.shortcut(_doubled(maps)) + self.residual[1](residual)
        return total


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation with a gain and a bias for each class (Dumoulin et al. 2017)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width, affine=False)
        self.gain, self.bias = nn.Embedding(classes, width), nn.Embedding(classes, width)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.bias.weight)

    def forward(self, maps: Tensor, label: Tensor) -> Tensor:
        """Normalise the feature maps (N, C, H, W), scale and shift them by class."""
        gain, bias = (table(label)[:, :, None, None] for table in (self.gain, self.bias))
        scaled: Tensor = self.norm(maps) * gain + bias
        return scaled


class Discriminator(nn.Module):
    """Projection discriminator: images (N, C, H, W) and labels (N,) to raw scores (N, score_size).

    The score is that of SNGAN plus the inner product of its last features with the embedded label.
    """

    def __init__(self, entry: SNGANProjection, plain: nn.Sequential) -> None:
        super().__init__()
        self.features, self.score, self.classes = plain[:-1], plain[-1], entry.classes
        # A linear layer of one-hot labels is an embedding; spectral normalisation is of linear layers.
        width = entry.discriminator_width * entry.score_size
        self.embedding = nn.Linear(entry.classes, width, bias=False)

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        """Score the image by itself and together with its label."""
        features = self.features(image)
        alone: Tensor = self.score(features)
        embedded = self.embedding(F.one_hot(label, self.classes).to(features.dtype))
        projected: Tensor = (embedded.unflatten(1, (alone.shape[1], -1)) * features[:, None]).sum(2)
        return alone + projected


def _doubled(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=2.0, mode="nearest")
