"""CUT and FastCUT (Park et al. 2020): unpaired translation in one direction by contrast of patches."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.adversarial import descend, frozen
from zoo.entry import Batch, DataKind, Inputs, Trainer
from zoo.errors import ConfigError
from zoo.fields import must_be_at_least, must_be_positive
from zoo.models.translate.cyclegan import least_squares
from zoo.translation import Direction, TranslationEntry
from zoo.translators import ResNet

HEAD_SIZE = 256
"""Number of values that a head maps a patch to."""


@dataclass(frozen=True, kw_only=True)
class CUT(TranslationEntry):
    """Unpaired image-to-image translation in one direction by contrastive learning (Park et al. 2020)."""

    learns_from: ClassVar[DataKind] = "domains"

    direction: Direction = "a2b"
    """Direction to learn: a2b, or b2a."""

    translator: Literal["resnet-9", "resnet-6"] = "resnet-9"

    nce_weight: float = 1.0
    """Weight of the contrastive loss (PatchNCE)."""

    nce_identity: bool = True
    """Apply the contrastive loss to images of the target domain and their translations, too."""

    nce_patches: int = 256
    """Patches of each feature map that are compared with one another."""

    nce_temperature: float = 0.07
    """Temperature of the contrastive loss."""

    flip_equivariance: bool = False
    """Translate mirrored images with probability 0.5, and compare them with the unmirrored ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        must_be_at_least(self, 0, "nce_weight")
        must_be_positive(self, "nce_patches", "nce_temperature")
        if self.channels_a != self.channels_b:
            raise ConfigError(
                "channels_a and channels_b must be equal, because the translator's features of images and of "
                f"translations are compared; got {self.channels_a} and {self.channels_b}"
            )

    def build(self, device: torch.device | str = "cpu") -> "ContrastiveTrainer":
        """Build the translator, the discriminator and the heads."""
        return ContrastiveTrainer(self, device)

    def learning_rate_at(self, progress: float) -> float:
        """Return 1 for the first half of the run, then a linear decay to 0."""
        return min(1.0, 2 * (1 - progress))


@dataclass(frozen=True, kw_only=True)
class FastCUT(CUT):
    """FastCUT: CUT without the identity term, with a larger contrastive loss and mirrored images."""

    nce_weight: float = 10.0
    nce_identity: bool = False
    flip_equivariance: bool = True

    def learning_rate_at(self, progress: float) -> float:
        """Return 1 for three quarters of the run, then a linear decay to 0."""
        return min(1.0, 4 * (1 - progress))


class ContrastiveTrainer(Trainer):
    """Trainer that updates a discriminator, and then a translator together with the heads of its features.

    The translator maps images of its source domain, (N, C, H, W) in [-1, 1], to its target domain; its name
    is the direction. A patch of a translation must be recognised among patches of its source, by features of
    the translator's first half. Source: Park et al. 2020, section 3.
    """

    def __init__(self, entry: CUT, device: torch.device | str) -> None:
        self.entry = entry
        self.source, self.target = entry.direction.split("2")
        translator = entry.make_translator(entry.channels_a, entry.channels_b)
        assert isinstance(translator, ResNet)
        self.translator = translator.to(device)
        self.discriminator = entry.make_discriminator(entry.channels_b).to(device)
        self.heads = Heads(translator, entry.nce_patches).to(device)
        self.generators = nn.ModuleDict({entry.direction: self.translator})
        self.discriminators = nn.ModuleDict({"discriminator": self.discriminator})
        self.helpers = nn.ModuleDict({"heads": self.heads})
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "generator": entry.make_optimizer(nn.ModuleList([self.translator, self.heads])),
            "discriminator": entry.make_optimizer(self.discriminator),
        }

    def inputs(self, batch: Batch) -> Inputs:
        """Return centre crops of the source domain as the translator's input."""
        return {self.entry.direction: {"image": self.entry.center(batch[self.source])}}

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Update the discriminator, then the translator and the heads."""
        source, target = (self.entry.crop(batch[domain]) for domain in (self.source, self.target))
        mirrored = self.entry.flip_equivariance and bool(torch.rand(()) < 0.5)
        shown = source.flip(3) if mirrored else source
        # Instance normalisation keeps the images of a batch apart.
        translated = self.translator(torch.cat([shown, target]) if self.entry.nce_identity else shown)
        fake, same = translated[: len(source)], translated[len(source) :]

        real_loss = least_squares(self.discriminator(target), 1)
        # Halved to slow the discriminator down relative to the translator, as in CycleGAN.
        loss = (real_loss + least_squares(self.discriminator(fake.detach()), 0)) / 2
        descend(loss, self.optimizers["discriminator"])
        with frozen(self.discriminator):
            adversarial = least_squares(self.discriminator(fake), 1)
            contrast = self._contrast(source, fake, mirrored)
            if self.entry.nce_identity:
                contrast = (contrast + self._contrast(target, same, mirrored=False)) / 2
            descend(adversarial + self.entry.nce_weight * contrast, self.optimizers["generator"])
        return {
            "generator_loss": adversarial.detach(),
            "nce_loss": contrast.detach(),
            "discriminator_loss": loss.detach(),
        }

    def _contrast(self, images: Tensor, translated: Tensor, mirrored: bool) -> Tensor:
        """Return the contrastive loss of translations against their images, averaged over the feature maps.

        Args:
            images: images (N, C, H, W).
            translated: translations of these images, or of the mirrored ones.
            mirrored: whether the mirrored ones were translated.
        """
        places = self.heads.draw_places(images)
        with torch.no_grad():
            keys = self.heads(images, self.heads.mirror(places, images) if mirrored else places)
        losses = [
            patch_nce(query, key, self.entry.nce_temperature)
            for query, key in zip(
                self.heads.by_map(self.heads(translated, places), images),
                self.heads.by_map(keys, images),
                strict=True,
            )
        ]
        return torch.stack(losses).mean()


class Heads(nn.Module):
    """Heads that map patches of a translator's feature maps to vectors of length 1.

    The translator is no part of this module: its weights are the generator's.

    Args:
        translator: translator whose feature maps are taken.
        patches: number of patches of each feature map; of a smaller one, all are taken.
    """

    def __init__(self, translator: ResNet, patches: int) -> None:
        super().__init__()
        self.features, self.taps, self.patches = translator.features, translator.taps, patches
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(tap.channels, HEAD_SIZE), nn.ReLU(), nn.Linear(HEAD_SIZE, HEAD_SIZE))
            for tap in self.taps
        )

    def forward(self, image: Tensor, places: Tensor) -> Tensor:
        """Return vectors (N, P, 256) of the patches at the places (N, P) of images (N, C, H, W)."""
        vectors = []
        for head, maps, place in zip(
            self.heads, self.features(image), self.by_map(places, image), strict=True
        ):
            listed = maps.flatten(2).mT
            vectors.append(head(listed.gather(1, place[:, :, None].expand(-1, -1, listed.shape[2]))))
        return F.normalize(torch.cat(vectors, 1), dim=2)

    def draw_places(self, images: Tensor) -> Tensor:
        """Draw places (N, P), equal for all images: numbers of patches row by row, map after map."""
        drawn = [torch.randperm(h * w)[: self.patches] for h, w in self._sizes(images)]
        return torch.cat(drawn).to(images.device).expand(len(images), -1)

    def mirror(self, places: Tensor, images: Tensor) -> Tensor:
        """Return the places of the same patches in mirrored images."""
        found = zip(self.by_map(places, images), self._sizes(images), strict=True)
        return torch.cat([place // w * w + w - 1 - place % w for place, (_, w) in found], 1)

    def by_map(self, values: Tensor, images: Tensor) -> tuple[Tensor, ...]:
        """Split values of places, (N, P, ...), by the feature maps."""
        return torch.split(values, [min(h * w, self.patches) for h, w in self._sizes(images)], 1)

    def _sizes(self, images: Tensor) -> list[tuple[int, int]]:
        height, width = images.shape[2:]
        return [(height // tap.factor, width // tap.factor) for tap in self.taps]


def patch_nce(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Return the cross-entropy of recognising the key of each query among the keys of its image.

    Args:
        queries: vectors of length 1 of patches of translations, (N, P, D).
        keys: those of the same patches of the images, (N, P, D).
        temperature: divisor of the inner products.
    """
    scores = queries @ keys.mT / temperature
    right = torch.arange(keys.shape[1], device=keys.device).expand(len(keys), -1)
    return F.cross_entropy(scores.flatten(0, 1), right.flatten())
