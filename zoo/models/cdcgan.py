"""Conditional DCGAN: both players are conditioned on the class (Mirza and Osindero 2014)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from zoo.fields import must_be_positive
from zoo.models import dcgan


@dataclass(frozen=True, kw_only=True)
class CDCGAN(dcgan.DCGAN):
    """Class-conditional DCGAN (Mirza and Osindero 2014, on the networks of Radford et al. 2015)."""

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
        body = partial(dcgan.Generator, self, self.latent_size + self.label_size)
        return Generator(self.classes, self.label_size, body), Discriminator(self)


class Generator(nn.Module):
    """Conditional generator: latents (N, latent_size) and labels (N,) to images (N, C, H, W) in [-1, 1].

    Args:
        classes: number of classes.
        label_size: size of the class embedding.
        make_body: builds the generator of latents that have the embedding concatenated.
    """

    def __init__(self, classes: int, label_size: int, make_body: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, label_size)
        self.body = make_body()

    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        """Concatenate the class embedding to the latent and generate images."""
        images: Tensor = self.body(torch.cat([latent, self.embedding(label)], 1))
        return images


class Discriminator(nn.Module):
    """Conditional discriminator: images (N, C, H, W) and labels (N,) to raw scores (N, score_size)."""

    def __init__(self, entry: CDCGAN) -> None:
        super().__init__()
        self.embedding = nn.Embedding(entry.classes, entry.image_size**2)
        self.body = dcgan.Discriminator(entry, entry.channels + 1)

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        """Concatenate the class embedding to the image as an extra channel and score the result."""
        plane = self.embedding(label).reshape(-1, 1, *image.shape[2:])
        scores: Tensor = self.body(torch.cat([image, plane], 1))
        return scores
