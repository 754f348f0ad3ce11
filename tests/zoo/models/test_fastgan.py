import pytest
import torch
from torch import nn

from zoo.models.fastgan import Excitation, FastGAN, Generator

SMALL = {"width": 4, "channels": 3, "batch_size": 4, "latent_size": 16}


@pytest.mark.parametrize(("size", "channels"), [(64, 3), (128, 1), (256, 3)])
def test_any_power_of_two_from_64(size, channels):
    entry = FastGAN(**SMALL | {"image_size": size, "channels": channels})
    trainer = entry.build()
    images = trainer.generator(torch.randn(2, 16))
    assert images.shape == (2, *entry.sample_shape)
    assert images.abs().max() <= 1
    assert trainer.discriminator(images).shape == (2, 25), "scores of parts"
    scalars = trainer.step({"real": images.detach()})
    assert all(torch.isfinite(value) for value in scalars.values())


def test_maps_of_4x4_excite_those_of_64x64_and_maps_of_8x8_those_of_128x128():
    excited = [module.gains[1] for module in Generator(FastGAN(image_size=128, channels=3), 256).excitations]
    assert [(each.in_channels, each.out_channels) for each in excited] == [(1024, 128), (512, 64)]
    layer, low, high = Excitation(2, 3), torch.randn(1, 2, 4, 4), torch.randn(1, 3, 8, 8)
    ratio = layer(low, high) / high
    assert torch.allclose(ratio, ratio.mean((2, 3), keepdim=True).expand_as(ratio)), "a gain of each channel"
    assert not torch.equal(layer(-low, high), layer(low, high))


@pytest.mark.slow
def test_the_discriminator_learns_to_decode_real_images():
    torch.manual_seed(0)
    trainer = FastGAN(augment=(), **SMALL).build()
    colours = torch.rand(4, 3, 1, 1).expand(4, 3, 64, 64) * 2 - 1
    network = trainer.discriminator.discriminator
    before = network.reconstruction(colours).item()
    for _ in range(60):
        scalars = trainer.step({"real": colours})
    assert network.reconstruction(colours).item() < 0.6 * before
    assert scalars["penalty"].item() < 0.6 * before


def test_without_its_weight_nothing_is_decoded():
    trainer = FastGAN(reconstruction_weight=0.0, augment=(), **SMALL).build()
    scalars = trainer.step({"real": torch.zeros(4, 3, 64, 64)})
    assert scalars["penalty"] == 0
    decoders = trainer.discriminator.discriminator.decode_whole
    layer = next(m for m in decoders.modules() if isinstance(m, nn.Conv2d))
    assert layer.parametrizations.weight.original.grad.abs().max() == 0


@pytest.mark.parametrize(
    "field",
    [{"image_size": 32}, {"width": 0}, {"reconstruction_weight": -1.0}, {"objective": "softmax"}],
)
def test_impossible_fields_are_refused(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        FastGAN(**field)
