import math

import pytest
import torch
from torch import nn

from zoo.models.r3gan import R3GAN, R3GANCIFAR10, Block, Discriminator, Generator, Resample


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
    assert images.std().item() == pytest.approx(0.5, abs=0.15)
    assert 0.01 < scores.std() < 0.5


def test_only_layers_before_an_activation_have_its_gain():
    torch.manual_seed(0)
    discriminator = R3GAN(image_size=64, channels=3).build().discriminator.discriminator
    convolutions = [m for m in discriminator.stages if isinstance(m, nn.Conv2d)]
    for each in convolutions:
        assert each.weight.std().item() == pytest.approx(each.weight[0].numel() ** -0.5, rel=0.15)
    block = next(m for m in discriminator.stages if isinstance(m, Block))
    gain = math.sqrt(2 / 1.04) * 10**-0.25  # ten blocks
    for each, inputs in ((block.residual[0], 64), (block.residual[2], 16 * 9)):
        assert each.weight.std().item() == pytest.approx(gain * inputs**-0.5, rel=0.05)


def test_resampling_is_low_pass_with_zeros_beyond_the_border():
    line = torch.zeros(1, 2, 8, 8)
    line[:, :, 4, 4] = 64.0
    half = Resample("half")(line)
    assert half.shape == (1, 2, 4, 4)
    assert half[0, 1, 1:4, 1:4].tolist() == [[1, 3, 0], [3, 9, 0], [0, 0, 0]]
    assert Resample("half")((-1.0) ** torch.arange(8).expand(1, 1, 8, 8))[..., 1:3, 1:3].abs().max() == 0
    double, maps = Resample("double")(line), torch.randn(2, 3, 6, 6)
    assert double.sum() == 4 * line.sum()
    inner = nn.functional.interpolate(maps, scale_factor=2.0, mode="bilinear")[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(Resample("double")(maps)[:, :, 1:-1, 1:-1], inner)


def test_the_published_configuration():
    """The numbers of parameters are those of the authors' networks."""
    with torch.device("meta"):
        players = [network(R3GANCIFAR10(channels=3)) for network in (Generator, Discriminator)]
    counts = [sum(p.numel() for p in player.parameters()) for player in players]
    assert counts == [20_732_160, 20_683_776]


def test_annealing_by_images_reaches_its_end_and_survives_a_resume():
    entry = R3GANCIFAR10(image_size=16, channels=1, width=16, blocks=1, batch_size=2, annealing_images=4)
    trainer, batch = entry.build(), {"real": torch.zeros(2, 1, 16, 16)}
    group = trainer.optimizers["generator"].param_groups[0]
    seen = []
    for _ in range(4):
        group["lr"] = 2e-4  # as the loop does before each step
        trainer.step(batch)
        seen.append((group["lr"], group["betas"][1], trainer.regularizer_weight))
    middle, end = (1.25e-4, 0.945, 0.0275), (5e-5, 0.99, 0.005)
    assert [pytest.approx(each) for each in ((2e-4, 0.9, 0.05), middle, end, end)] == seen

    resumed = entry.build()
    resumed.load_state_dict(trainer.state_dict() | {"images": 2})
    resumed.step(batch)
    assert resumed.regularizer_weight == pytest.approx(0.0275)


@pytest.mark.parametrize("field", [{"image_size": 48}, {"width": 24}, {"blocks": 0}])
def test_impossible_fields_are_refused(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        R3GAN(**field)
