import pytest
import torch
from torch import nn

from zoo.models.r3gan import R3GAN, Block


def test_the_game_is_the_papers():
    entry = R3GAN()
    assert (entry.objective, entry.regularizer, entry.schedule) == ("relativistic", "r1+r2", "cosine")
    assert entry.betas[0] == 0


@pytest.mark.parametrize(("size", "channels"), [(16, 1), (32, 3), (64, 1)])
def test_any_power_of_two(size, channels):
    entry = R3GAN(image_size=size, channels=channels, width=16, blocks=1)
    trainer = entry.build()
    images = trainer.generator(torch.randn(2, entry.latent_size))
    assert images.shape == (2, *entry.sample_shape)
    assert trainer.discriminator(images).shape == (2, 1)


def test_nothing_normalises_and_nothing_squashes():
    trainer = R3GAN(channels=3, image_size=16, width=16).build()
    kinds = {type(m) for player in (trainer.generator, trainer.discriminator) for m in player.modules()}
    assert not kinds & {nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm, nn.LayerNorm, nn.Tanh, nn.Sigmoid}
    assert trainer.generator(100 * torch.randn(8, 64)).abs().max() > 1


def test_a_block_is_at_first_the_identity_and_learns():
    block, maps = Block(16, group_width=8, gain=0.5), torch.randn(2, 16, 4, 4)
    assert torch.equal(block(maps), maps)
    block(maps).square().mean().backward()
    last = [m for m in block.residual if isinstance(m, nn.Conv2d)][-1]
    assert last.weight.grad.abs().max() > 0
    grouped = block.residual[2]
    assert (grouped.groups, grouped.kernel_size, grouped.in_channels) == (4, (3, 3), 32)


def test_latents_and_images_keep_their_scale_through_the_networks():
    torch.manual_seed(0)
    trainer = R3GAN(channels=1).build()
    with torch.no_grad():
        images = trainer.generator(torch.randn(64, 64))
        scores = trainer.discriminator(torch.randn(64, 1, 32, 32))
    assert 0.1 < images.std() < 10
    assert 0.01 < scores.std() < 10


@pytest.mark.parametrize("field", [{"image_size": 48}, {"width": 24}, {"blocks": 0}])
def test_impossible_fields_are_refused(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        R3GAN(**field)
