"""CycleGAN (Zhu et al. 2017): unpaired image-to-image translation with cycle consistency."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.adversarial import descend, frozen
from zoo.entry import Batch, DataKind, Inputs, Trainer
from zoo.fields import must_be_at_least
from zoo.translation import TranslationEntry


@dataclass(frozen=True, kw_only=True)
class CycleGAN(TranslationEntry):
    """Unpaired image-to-image translation with cycle consistency (Zhu et al. 2017)."""

    learns_from: ClassVar[DataKind] = "domains"

    cycle_weight: float = 10.0
    """Weight of the cycle loss: the L1 distance between an image and its translation there and back."""

    identity_weight: float = 5.0
    """Weight of the identity loss: the L1 distance between an image of the target domain and its translation.
    0 leaves it out, and so do domains of different channels, as no translator takes images of its target."""

    pool_size: int = 50
    """Number of earlier fakes of each domain in the image pool of the discriminators."""

    def __post_init__(self) -> None:
        super().__post_init__()
        must_be_at_least(self, 0, "cycle_weight", "identity_weight", "pool_size")

    def build(self, device: torch.device | str = "cpu") -> "CycleTrainer":
        """Build the two translators and the two discriminators."""
        return CycleTrainer(self, device)

    def learning_rate_at(self, progress: float) -> float:
        """Return 1 for the first half of the run, then a linear decay to 0."""
        return min(1.0, 2 * (1 - progress))


class CycleTrainer(Trainer):
    """Trainer that updates two translators and then the discriminators of their domains.

    `a2b` maps images of domain a, (N, C, H, W) in [-1, 1], to domain b; `b2a` maps domain b to domain a. Each
    discriminator maps images of its domain to scores of patches. Source: Zhu et al. 2017, sections 3 and 4.
    """

    def __init__(self, entry: CycleGAN, device: torch.device | str) -> None:
        self.entry = entry
        self.a2b = entry.make_translator(entry.channels_a, entry.channels_b).to(device)
        self.b2a = entry.make_translator(entry.channels_b, entry.channels_a).to(device)
        self.discriminator_a = entry.make_discriminator(entry.channels_a).to(device)
        self.discriminator_b = entry.make_discriminator(entry.channels_b).to(device)
        self.generators = nn.ModuleDict({"a2b": self.a2b, "b2a": self.b2a})
        self.discriminators = nn.ModuleDict({"a": self.discriminator_a, "b": self.discriminator_b})
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "generators": entry.make_optimizer(self.generators),
            "discriminators": entry.make_optimizer(self.discriminators),
        }
        self.pool_a, self.pool_b = ImagePool(entry.pool_size), ImagePool(entry.pool_size)
        has_identity = entry.identity_weight and entry.channels_a == entry.channels_b
        self._further_loss = self._identity_loss if has_identity else _no_loss

    def inputs(self, batch: Batch) -> Inputs:
        """Return centre crops of each domain as the inputs of its translator."""
        a, b = (self.entry.center(batch[domain]) for domain in ("a", "b"))
        return {"a2b": {"image": a}, "b2a": {"image": b}}

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Update both translators together, then both discriminators."""
        a, b = (self.entry.crop(batch[domain]) for domain in ("a", "b"))
        fake_b, fake_a = self.a2b(a), self.b2a(b)
        scalars = self._update_generators(a, b, fake_a, fake_b)
        shown_a, shown_b = self.pool_a.exchange(fake_a.detach()), self.pool_b.exchange(fake_b.detach())
        return scalars | self._update_discriminators(a, b, shown_a, shown_b)

    def _update_generators(self, a: Tensor, b: Tensor, fake_a: Tensor, fake_b: Tensor) -> dict[str, Tensor]:
        entry = self.entry
        with frozen(self.discriminators):
            adversarial = least_squares(self.discriminator_b(fake_b), 1) + least_squares(
                self.discriminator_a(fake_a), 1
            )
            cycle = F.l1_loss(self.b2a(fake_b), a) + F.l1_loss(self.a2b(fake_a), b)
            loss = adversarial + entry.cycle_weight * cycle + self._further_loss(a, b)
            descend(loss, self.optimizers["generators"])
        return {"generator_loss": adversarial.detach(), "cycle_loss": cycle.detach()}

    def _identity_loss(self, a: Tensor, b: Tensor) -> Tensor:
        return self.entry.identity_weight * (F.l1_loss(self.b2a(a), a) + F.l1_loss(self.a2b(b), b))

    def _update_discriminators(
        self, a: Tensor, b: Tensor, fake_a: Tensor, fake_b: Tensor
    ) -> dict[str, Tensor]:
        real = least_squares(self.discriminator_a(a), 1) + least_squares(self.discriminator_b(b), 1)
        fake = least_squares(self.discriminator_a(fake_a), 0) + least_squares(self.discriminator_b(fake_b), 0)
        # Halved to slow the discriminators down relative to the translators (section 4).
        loss = (real + fake) / 2
        descend(loss, self.optimizers["discriminators"])
        return {"discriminator_loss": loss.detach() / 2}

    def state_dict(self) -> dict[str, Any]:
        """Return the images of both pools."""
        return {"pool_a": self.pool_a.images, "pool_b": self.pool_b.images}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the images of both pools.

        Raises:
            ValueError: an image does not have the shape of a crop.
        """
        pools = {"pool_a": self.pool_a, "pool_b": self.pool_b}
        for (name, pool), shape in zip(pools.items(), self.entry.scored_shape, strict=True):
            pool.images = [image.to(next(self.a2b.parameters())) for image in state[name]]
            if any(image.shape != shape for image in pool.images):
                raise ValueError(f"images of {name} must have the shape {shape}")


def _no_loss(a: Tensor, b: Tensor) -> Tensor:
    return a.new_zeros(())


class ImagePool:
    """A pool of at most `size` earlier fakes (Shrivastava 2017)."""

    def __init__(self, size: int) -> None:
        self.size, self.images = size, list[Tensor]()

    def exchange(self, fakes: Tensor) -> Tensor:
        """Return images (N, C, H, W) for the discriminator and add the new fakes to the pool.

        While the pool is not full, the new fakes are stored and returned. Then each new fake is swapped, with
        probability 0.5, with a random image of the pool.
        """
        shown = []
        for fake in fakes:
            if len(self.images) < self.size:
                self.images.append(fake.clone())
            elif self.size and torch.rand(()) < 0.5:
                place = int(torch.randint(self.size, ()))
                fake, self.images[place] = self.images[place], fake.clone()
            shown.append(fake)
        return torch.stack(shown)


def least_squares(scores: Tensor, target: float) -> Tensor:
    """Return the mean squared error of scores against a target, 1 real or 0 fake (Mao et al. 2017)."""
    return (scores - target).square().mean()
