import pytest
import torch
from torch import nn

from zoo.models.sngan import SNGAN, SNGANCNN, Block, initialise


def count(player: nn.Module) -> int:
    return sum(parameter.numel() for parameter in player.parameters())


def test_the_residual_networks_have_their_published_sizes():
    trainer = SNGAN(channels=3).build()
    assert count(trainer.generator) == pytest.approx(4.28e6, rel=0.005)
    assert count(trainer.discriminator) == pytest.approx(1.05e6, rel=0.005)


def test_the_settings_are_the_papers():
    residual, plain = SNGAN(), SNGANCNN()
    assert (residual.discriminator_steps, residual.betas, residual.schedule) == (5, (0.0, 0.9), "linear")
    assert (plain.discriminator_steps, plain.betas, plain.schedule) == (1, (0.5, 0.999), "constant")
    assert residual.objective == plain.objective == "hinge"


@pytest.mark.parametrize("kind", [SNGAN, SNGANCNN])
@pytest.mark.parametrize(("size", "channels"), [(16, 1), (32, 3), (64, 3)])
def test_any_power_of_two_and_every_layer_of_the_discriminator_is_normalised(kind, size, channels):
    entry = kind(image_size=size, channels=channels, generator_width=16, discriminator_width=4)
    trainer = entry.build()
    images = trainer.generator(torch.randn(2, 128))
    assert images.shape == (2, *entry.sample_shape)
    assert images.abs().max() <= 1
    assert trainer.discriminator(images).shape == (2, 1)
    layers = [m for m in trainer.discriminator.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert layers
    assert all(nn.utils.parametrize.is_parametrized(layer, "weight") for layer in layers)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in trainer.discriminator.modules())


def test_the_plain_discriminator_is_table_3():
    convolutions = [
        m for m in SNGANCNN(channels=3).build().discriminator.modules() if isinstance(m, nn.Conv2d)
    ]
    shapes = [(m.kernel_size[0], m.stride[0], m.out_channels) for m in convolutions]
    assert shapes == [(3, 1, 64), (4, 2, 64), (3, 1, 128), (4, 2, 128), (3, 1, 256), (4, 2, 256), (3, 1, 512)]


def test_residual_convolutions_have_the_gain_of_the_authors():
    """Glorot: a uniform distribution of variance 2 / (inputs + outputs), which a gain of sqrt(2) doubles."""
    torch.manual_seed(0)
    generator = SNGAN(channels=3).networks()[0].apply(initialise)
    block = next(m for m in generator.modules() if isinstance(m, Block))
    within = [m.weight.var().item() for m in block.residual if isinstance(m, nn.Conv2d)]
    glorot = 2 / (256 * 9 + 256 * 9)
    assert within == pytest.approx([2 * glorot] * 2, rel=0.01)
    assert block.shortcut[1].weight.var().item() == pytest.approx(2 / (256 + 256), rel=0.05)


@pytest.mark.parametrize(
    "field", [{"image_size": 48}, {"image_size": 8}, {"channels": -1}, {"generator_width": 0}]
)
def test_other_sizes_are_refused_with_what_would_do(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        SNGAN(**field)
