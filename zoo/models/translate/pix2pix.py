"""pix2pix (Isola et al. 2017): paired image-to-image translation with a conditional GAN and an L1 loss."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.adversarial import descend, frozen
from zoo.entry import Batch, DataKind, Inputs, Trainer
from zoo.fields import must_be_at_least
from zoo.objectives import OBJECTIVES, Objective
from zoo.translation import Direction, TranslationEntry
from zoo.translators import TranslatorName


@dataclass(frozen=True, kw_only=True)
class Pix2Pix(TranslationEntry):
    """Paired image-to-image translation from one domain to the other (Isola et al. 2017)."""

    learns_from: ClassVar[DataKind] = "pairs"

    direction: Direction = "a2b"
    """Direction to learn: a2b, from the left or first image of a pair to the other, or b2a."""

    translator: TranslatorName = "unet-256"

    objective: Literal["non_saturating", "least_squares"] = "non_saturating"
    """Loss functions of both players; those of least_squares are halved, as in Mao et al. 2017."""

    distance_weight: float = 100.0
    """Weight of the L1 distance between a translation and the target image."""

    def __post_init__(self) -> None:
        super().__post_init__()
        must_be_at_least(self, 0, "distance_weight")

    def build(self, device: torch.device | str = "cpu") -> "PairTrainer":
        """Build the translator and the discriminator of pairs."""
        return PairTrainer(self, device)


class PairTrainer(Trainer):
    """Trainer that updates a discriminator of image pairs and then a translator.

    The translator maps images of its source domain, (N, C, H, W) in [-1, 1], to its target domain; its name
    is the direction. The discriminator takes the images of both domains, concatenated along the channels.
    Source: Isola et al. 2017, section 3.
    """

    def __init__(self, entry: Pix2Pix, device: torch.device | str) -> None:
        self.entry = entry
        self.source, self.target = entry.direction.split("2")
        channels = {"a": entry.channels_a, "b": entry.channels_b}
        self.channels = [channels[self.source], channels[self.target]]
        self.translator = entry.make_translator(*self.channels).to(device)
        self.discriminator = entry.make_discriminator(sum(self.channels)).to(device)
        self.objective: Objective = OBJECTIVES[entry.objective]
        self.generators = nn.ModuleDict({entry.direction: self.translator})
        self.discriminators = nn.ModuleDict({"discriminator": self.discriminator})
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "generator": entry.make_optimizer(self.translator),
            "discriminator": entry.make_optimizer(self.discriminator),
        }

    def inputs(self, batch: Batch) -> Inputs:
        """Return centre crops of the source domain as the translator's input."""
        return {self.entry.direction: {"image": self.entry.center(batch[self.source])}}

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Update the discriminator, then the translator."""
        # The same crop for both images of a pair, which are aligned pixel by pixel.
        real = self.entry.crop(torch.cat([batch[self.source], batch[self.target]], 1))
        source, target = torch.split(real, self.channels, 1)
        translated = self.translator(source)
        fake = torch.cat([source, translated], 1)
        # Halved to slow the discriminator down relative to the translator (section 3.3).
        loss = self.objective.discriminator(self.discriminator(real), self.discriminator(fake.detach())) / 2
        descend(loss, self.optimizers["discriminator"])
        with frozen(self.discriminator):
            adversarial = self.objective.generator(self.discriminator(fake), lambda: self.discriminator(real))
            distance = F.l1_loss(translated, target)
            descend(adversarial + self.entry.distance_weight * distance, self.optimizers["generator"])
        return {
            "generator_loss": adversarial.detach(),
            "distance": distance.detach(),
            "discriminator_loss": loss.detach(),
        }
