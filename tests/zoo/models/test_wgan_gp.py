import torch
from torch import nn

from zoo.models.wgan_gp import WGANGP, WGANGPResNet


def test_it_is_the_papers_setting():
    entry = WGANGP()
    assert (entry.objective, entry.regularizer, entry.regularizer_weight) == (
        "wasserstein",
        "gradient_penalty",
        10,
    )
    assert (entry.discriminator_steps, entry.learning_rate, entry.betas) == (5, 1e-4, (0.5, 0.9))
    assert entry.examples_per_step == 5 * entry.batch_size


def test_the_critic_has_no_batch_normalisation_and_the_generator_has():
    trainer = WGANGP(channels=3, width=4).build()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in trainer.discriminator.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in trainer.generator.modules())


def test_the_penalty_pulls_the_slope_towards_one():
    """On data it can't tell from fakes the critic's slope at real examples comes near to 1 from far below."""
    torch.manual_seed(0)
    entry = WGANGP(image_size=16, channels=1, width=4, batch_size=16, learning_rate=1e-3)
    trainer = entry.build()

    def slope() -> float:
        real = torch.randn(64, 1, 16, 16).requires_grad_(True)
        (gradient,) = torch.autograd.grad(trainer.discriminator(real).sum(), real)
        return gradient.flatten(1).norm(dim=1).mean().item()

    assert slope() < 0.1
    for _ in range(60):
        trainer.step({"real": torch.randn(entry.examples_per_step, 1, 16, 16)})
    assert 0.5 < slope() < 1.5


def test_the_residual_form_is_the_papers_setting():
    entry = WGANGPResNet()
    assert (entry.learning_rate, entry.betas, entry.schedule) == (2e-4, (0.0, 0.9), "linear")
    assert (entry.objective, entry.regularizer, entry.discriminator_steps) == (
        "wasserstein",
        "gradient_penalty",
        5,
    )
    trainer = WGANGPResNet(image_size=16, channels=1, generator_width=8, discriminator_width=8).build()
    names = dict(trainer.discriminator.named_parameters())
    assert not any("parametrizations" in name for name in names)
    assert torch.isfinite(trainer.step({"real": torch.randn(10, 1, 16, 16)})["penalty"])
