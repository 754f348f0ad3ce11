import copy

import pytest
import torch
from torch import nn

from zoo.adversarial import TwoPlayer, descend, frozen
from zoo.mlp_gan import MLPGAN


def small() -> TwoPlayer:
    torch.manual_seed(0)
    entry = MLPGAN(shape=(2,), latent_size=3, generator_widths=(8,), discriminator_widths=(8,))
    return entry.build()


def test_the_discriminator_moves_by_its_own_gradient_alone():
    """The generator's backward pass leaves nothing behind that leaks into the discriminator's next update."""
    trainer, batch = small(), {"real": torch.randn(16, 2)}
    trainer.step(batch)
    twin = copy.deepcopy(trainer)

    torch.manual_seed(1)
    trainer.step(batch)

    torch.manual_seed(1)
    fake = twin.generator(**twin.inputs(batch)["generator"]).detach()
    fresh = [torch.zeros_like(parameter) for parameter in twin.discriminator.parameters()]
    loss = twin.objective.discriminator(twin.discriminator(batch["real"]), twin.discriminator(fake))
    fresh = torch.autograd.grad(loss, list(twin.discriminator.parameters()))
    for parameter, gradient in zip(twin.discriminator.parameters(), fresh, strict=True):
        parameter.grad = gradient
    twin.optimizers["discriminator"].step()
    for mine, theirs in zip(trainer.discriminator.parameters(), twin.discriminator.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_leak_would_be_seen():
    """The control: the same update with the generator's leftovers in it differs."""
    trainer, batch = small(), {"real": torch.randn(16, 2)}
    trainer.step(batch)
    twin = copy.deepcopy(trainer)
    for player in (trainer, twin):
        torch.manual_seed(1)
        fake = player.generator(**player.inputs(batch)["generator"])
        player.optimizers["discriminator"].zero_grad()
        if player is twin:
            player.objective.generator(player.discriminator(fake), lambda: None).backward(retain_graph=True)
        scores = player.discriminator(batch["real"]), player.discriminator(fake.detach())
        player.objective.discriminator(*scores).backward()
        player.optimizers["discriminator"].step()
    pairs = zip(trainer.discriminator.parameters(), twin.discriminator.parameters(), strict=True)
    assert not all(torch.equal(mine, theirs) for mine, theirs in pairs)


def test_a_generators_step_leaves_the_discriminator_without_gradients():
    trainer = small()
    trainer.optimizers["discriminator"].zero_grad()
    with frozen(trainer.discriminator):
        latent = trainer.inputs({"real": torch.zeros(4, 2)})["generator"]
        score = trainer.discriminator(trainer.generator(**latent)).mean()
        descend(score, trainer.optimizers["generator"])
    assert all(parameter.grad is None for parameter in trainer.discriminator.parameters())
    assert all(parameter.grad is not None for parameter in trainer.generator.parameters())
    assert all(parameter.requires_grad for parameter in trainer.discriminator.parameters())


def test_frozen_thaws_after_an_error():
    player = nn.Linear(2, 2)
    with pytest.raises(RuntimeError), frozen(player):
        raise RuntimeError
    assert player.weight.requires_grad


def test_both_players_move_and_scalars_are_detached():
    trainer = small()
    before = copy.deepcopy(trainer.generators), copy.deepcopy(trainer.discriminators)
    scalars = trainer.step({"real": torch.randn(16, 2)})
    for old, new in zip(before, (trainer.generators, trainer.discriminators), strict=True):
        assert all(not torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True))
    assert set(scalars) == {"generator_loss", "discriminator_loss", "real_score", "fake_score"}
    assert not any(scalar.requires_grad for scalar in scalars.values())


@pytest.mark.parametrize(
    ("field", "value"),
    [("batch_size", 0), ("latent_size", -1), ("learning_rate", 0.0), ("objective", "spite")],
)
def test_impossible_hyperparameters_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        MLPGAN(**{field: value})
