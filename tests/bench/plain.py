"""Training loops as tutorials write them, with our networks: the baseline of the training benchmark.

Two workers open the images one by one. The generator runs once for each player's step. The generator's step
also computes gradients of the discriminator, which are discarded. Each loss is read with `.item()` in every
step.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from zoo.adversarial import TwoPlayerEntry
from zoo.models.translate.cyclegan import CycleGAN

Step = Callable[[], list[float]]


class Pictures(Dataset):  # type: ignore[type-arg]
    """The images of a folder, each opened on access."""

    def __init__(self, folder: Path, shape: tuple[int, ...]) -> None:
        self.paths = sorted(folder.glob("*.png"))
        self.mode = "L" if shape[0] == 1 else "RGB"
        middle = [0.5] * shape[0]
        self.transform = transforms.Compose(
            [
                transforms.Resize(shape[1:]),
                transforms.ToTensor(),
                transforms.Normalize(middle, middle),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> Tensor:
        with Image.open(self.paths[place]) as picture:
            return self.transform(picture.convert(self.mode))


def batches(folder: Path, shape: tuple[int, ...], size: int, device: str) -> Iterator[Tensor]:
    """Yield batches endlessly, reshuffled for each epoch."""
    loader = DataLoader(
        Pictures(folder, shape), size, shuffle=True, num_workers=2, drop_last=True, persistent_workers=True
    )
    while True:
        yield from (batch.to(device) for batch in loader)


def adam(player: nn.Module, rate: float, betas: tuple[float, float]) -> torch.optim.Optimizer:
    return torch.optim.Adam(player.parameters(), lr=rate, betas=betas)


def binary(entry: TwoPlayerEntry, folder: Path, device: str) -> Step:
    """The step of a GAN that plays for binary cross-entropy."""
    trainer = entry.build(device)
    generator, judge = trainer.generators["generator"], trainer.discriminators["discriminator"]
    descent, ascent = (adam(player, entry.learning_rate, entry.betas) for player in (generator, judge))
    loaded = batches(folder, entry.sample_shape, entry.batch_size, device)

    def step() -> list[float]:
        real = next(loaded)
        ones, zeros = torch.ones(len(real), 1, device=device), torch.zeros(len(real), 1, device=device)

        ascent.zero_grad()
        fake = generator(torch.randn(len(real), entry.latent_size, device=device)).detach()
        loss = F.binary_cross_entropy_with_logits(judge(real), ones)
        loss = loss + F.binary_cross_entropy_with_logits(judge(fake), zeros)
        loss.backward()
        ascent.step()

        descent.zero_grad()
        fake = generator(torch.randn(len(real), entry.latent_size, device=device))
        deceit = F.binary_cross_entropy_with_logits(judge(fake), ones)
        deceit.backward()
        descent.step()
        return [loss.item(), deceit.item()]

    return step


def wasserstein(entry: TwoPlayerEntry, folder: Path, device: str) -> Step:
    """The step of a WGAN-GP: several updates of the critic, then one of the generator."""
    trainer = entry.build(device)
    generator, critic = trainer.generators["generator"], trainer.discriminators["discriminator"]
    descent, ascent = (adam(player, entry.learning_rate, entry.betas) for player in (generator, critic))
    loaded = batches(folder, entry.sample_shape, entry.batch_size, device)

    def penalty(real: Tensor, fake: Tensor) -> Tensor:
        share = torch.rand(len(real), 1, 1, 1, device=device)
        between = (share * real + (1 - share) * fake).requires_grad_(True)
        scores = critic(between)
        (slope,) = torch.autograd.grad(scores, between, torch.ones_like(scores), create_graph=True)
        return ((slope.view(len(real), -1).norm(2, dim=1) - 1) ** 2).mean()

    def step() -> list[float]:
        said = []
        for _ in range(entry.discriminator_steps):
            real = next(loaded)
            ascent.zero_grad()
            fake = generator(torch.randn(len(real), entry.latent_size, device=device)).detach()
            loss = critic(fake).mean() - critic(real).mean()
            loss = loss + entry.regularizer_weight * penalty(real, fake)
            loss.backward()
            ascent.step()
            said.append(loss.item())
        descent.zero_grad()
        deceit = -critic(generator(torch.randn(entry.batch_size, entry.latent_size, device=device))).mean()
        deceit.backward()
        descent.step()
        return [*said, deceit.item()]

    return step


def cycle(entry: CycleGAN, folder: Path, device: str) -> Step:
    """The step of a CycleGAN, the two discriminators one after the other, the pools left out."""
    trainer = entry.build(device)
    a2b, b2a = trainer.generators["a2b"], trainer.generators["b2a"]
    judges = trainer.discriminators["a"], trainer.discriminators["b"]
    descent = adam(trainer.generators, entry.learning_rate, entry.betas)
    ascents = [adam(judge, entry.learning_rate, entry.betas) for judge in judges]
    shape = entry.scored_shape.a
    loaded = [batches(folder / part, shape, entry.batch_size, device) for part in ("trainA", "trainB")]

    def against(scores: Tensor, target: float) -> Tensor:
        return F.mse_loss(scores, torch.full_like(scores, target))

    def step() -> list[float]:
        a, b = (next(each) for each in loaded)
        descent.zero_grad()
        same = F.l1_loss(b2a(a), a) + F.l1_loss(a2b(b), b)
        fake_b, fake_a = a2b(a), b2a(b)
        deceit = against(judges[1](fake_b), 1) + against(judges[0](fake_a), 1)
        back = F.l1_loss(b2a(fake_b), a) + F.l1_loss(a2b(fake_a), b)
        loss = deceit + entry.cycle_weight * back + entry.identity_weight * same
        loss.backward()
        descent.step()
        said = [loss.item()]
        for judge, ascent, real, fake in zip(judges, ascents, (a, b), (fake_a, fake_b), strict=True):
            ascent.zero_grad()
            loss = (against(judge(real), 1) + against(judge(fake.detach()), 0)) / 2
            loss.backward()
            ascent.step()
            said.append(loss.item())
        return said

    return step
