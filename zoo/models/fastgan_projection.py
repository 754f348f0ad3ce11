"""Class-conditional FastGAN: both players know the class, the discriminator by projection."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from zoo.fields import must_be_positive
from zoo.models import fastgan
from zoo.models.cdcgan import Generator


@dataclass(frozen=True, kw_only=True)
class FastGANProjection(fastgan.FastGAN):
    """Class-conditional FastGAN (Liu et al. 2021) with a projection discriminator (Miyato and Koyama 2018).

    The combination is ours: FastGAN's paper has no classes. The generator gets the class as in `cdcgan`.
    """

    conditions: ClassVar[tuple[str, ...]] = ("label",)

    classes: int = 0
    """Number of classes; the generator takes a class label for every image. 0 means as many as the data
    have."""

    label_size: int = 50
    """Size of the class embedding that is concatenated to the latent."""

    def __post_init__(self) -> None:
        super().__post_init__()
        must_be_positive(self, "label_size")

    def networks(self) -> tuple[nn.Module, nn.Module]:
        """Build the generator and the discriminator."""
        body = partial(fastgan.Generator, self, self.latent_size + self.label_size)
        return Generator(self.classes, self.label_size, body), Discriminator(self)


class Discriminator(fastgan.Discriminator):
    """Projection discriminator: images (N, C, H, W) and labels (N,) to raw scores of 5x5 parts, (N, 25).

    The score of a part is that of FastGAN plus the inner product of the part's features with an embedding of
    the label, which is a kernel of the size of the part.
    """

    def __init__(self, entry: FastGANProjection) -> None:
        super().__init__(entry)
        last = self.score[0]
        assert isinstance(last, nn.Conv2d)
        # A convolution with a kernel for each class: spectral normalisation is of convolutions.
        self.embedding = nn.Conv2d(last.in_channels, entry.classes, last.kernel_size[0], bias=False)

    def forward(self, image: Tensor, label: Tensor) -> Tensor:  # type: ignore[override]
        """Score the parts by themselves and together with the label."""
        features = self.features(self.to_8(self.to_16(image)))
        projected = self.embedding(features).flatten(2)[torch.arange(len(label), device=label.device), label]
        scores: Tensor = self.score(features) + projected
        return scores
