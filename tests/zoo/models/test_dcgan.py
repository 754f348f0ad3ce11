import dataclasses

import pytest
import torch
from torch import nn

from zoo.models.dcgan import DCGAN, DCGAN2015


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_sizes_are_the_papers():
    trainer = DCGAN2015(channels=3).build()
    assert count(trainer.generator) == 3_576_704
    assert count(trainer.discriminator) == 2_765_568


@pytest.mark.parametrize(("size", "channels"), [(16, 1), (32, 3), (128, 2)])
def test_any_power_of_two_and_any_channels(size, channels):
    entry = DCGAN(image_size=size, channels=channels, width=2, latent_size=5)
    trainer = entry.build()
    images = trainer.generator(torch.randn(3, 5))
    assert images.shape == (3, *entry.sample_shape) == (3, channels, size, size)
    assert images.abs().max() <= 1
    assert trainer.discriminator(images).shape == (3, 1)


@pytest.mark.parametrize("field", [{"image_size": 48}, {"image_size": 8}, {"channels": -1}, {"width": 0}])
def test_other_sizes_are_refused_with_what_would_do(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        DCGAN(**field)


def test_weights_start_as_in_the_paper():
    torch.manual_seed(0)
    trainer = DCGAN(channels=3, width=32).build()
    for module in (*trainer.generator.modules(), *trainer.discriminator.modules()):
        match module:
            case nn.Conv2d() | nn.ConvTranspose2d():
                assert module.bias is None
                if module.weight.numel() > 10_000:
                    assert module.weight.std().item() == pytest.approx(0.02, rel=0.05)
            case nn.BatchNorm2d():
                assert module.weight.mean().item() == pytest.approx(1, abs=0.02)
                assert not module.bias.any()


def test_a_latent_gives_one_picture_alone_and_in_any_batch():
    torch.manual_seed(0)
    generator = DCGAN(image_size=16, channels=1, width=4).build().generator
    generator(torch.randn(32, 100))  # moves the statistics of batch normalisation off their start
    generator.eval()
    latents = torch.randn(8, 100)
    with torch.no_grad():
        together, alone = generator(latents), torch.cat([generator(row[None]) for row in latents])
    assert torch.allclose(together, alone, atol=1e-6)


def test_in_training_mode_it_would_not():
    """The control: batch statistics tie a picture to its neighbours."""
    torch.manual_seed(0)
    generator = DCGAN(image_size=16, channels=1, width=4).build().generator
    latents = torch.randn(8, 100)
    with torch.no_grad():
        together, pairs = generator(latents), torch.cat([generator(two) for two in latents.split(2)])
    assert not torch.allclose(together, pairs, atol=1e-3)


def test_the_papers_own_game_and_rates_are_a_preset():
    paper, ours = DCGAN2015(channels=3), DCGAN(channels=3)
    assert (paper.objective, paper.regularizer, paper.schedule) == ("non_saturating", "none", "constant")
    assert (paper.learning_rate, paper.betas) == (2e-4, (0.5, 0.999))
    assert (ours.objective, ours.regularizer, ours.schedule) == ("relativistic", "r1+r2", "linear")
    assert paper.width == 2 * ours.width
    wide = dataclasses.replace(ours, width=paper.width)
    networks = [[tuple(p.shape) for p in entry.build().generator.parameters()] for entry in (paper, wide)]
    assert networks[0] == networks[1]
