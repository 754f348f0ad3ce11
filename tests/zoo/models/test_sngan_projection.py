import pytest
import torch
from torch import nn

from zoo.models.sngan_projection import ConditionalBatchNorm, SNGANProjection

SMALL = {"generator_width": 16, "discriminator_width": 8, "classes": 3, "batch_size": 2}


def batch(entry, count=10):
    return {"real": torch.randn(count, *entry.sample_shape), "label": torch.arange(count) % 3}


def test_the_networks_have_the_papers_sizes():
    """The numbers of parameters without labels are those of SNGAN: 4.28 and 1.05 million (Miyato 2018)."""
    generator, discriminator = SNGANProjection(classes=10, channels=3).networks()
    sizes = [sum(p.numel() for p in player.parameters()) for player in (generator, discriminator)]
    tables = 6 * 2 * 10 * 256  # the gains and biases of six normalisations
    assert sizes[0] - tables + 6 * 2 * 256 == 4_276_739
    assert sizes[1] - 10 * 128 == 1_053_825


@pytest.mark.parametrize(("size", "channels"), [(16, 1), (32, 3), (64, 3)])
def test_any_power_of_two_and_every_layer_of_the_discriminator_is_normalised(size, channels):
    entry = SNGANProjection(image_size=size, channels=channels, **SMALL)
    trainer = entry.build()
    assert all(torch.isfinite(value) for value in trainer.step(batch(entry)).values())
    layers = [m for m in trainer.discriminator.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert all(nn.utils.parametrize.is_parametrized(layer, "weight") for layer in layers)


def test_the_score_is_that_of_the_image_plus_the_inner_product_with_the_embedded_label():
    entry = SNGANProjection(image_size=16, channels=3, spectral_norm=False, objective="softmax", **SMALL)
    discriminator = entry.build().discriminator.discriminator
    images, labels = torch.randn(3, 3, 16, 16), torch.tensor([2, 0, 1])
    features = discriminator.features(images)
    tables = discriminator.embedding.weight.T.reshape(3, 2, 8)
    wanted = [
        discriminator.score(each)[0] + tables[label] @ each[0]
        for each, label in zip(features.split(1), labels.tolist(), strict=True)
    ]
    torch.testing.assert_close(discriminator(images, labels), torch.stack(wanted))


def test_each_class_has_its_gain_and_bias():
    norm, maps = ConditionalBatchNorm(2, classes=2), torch.randn(4, 2, 3, 3)
    plain = nn.BatchNorm2d(2)(maps)
    torch.testing.assert_close(norm(maps, torch.tensor([0, 1, 1, 0])), plain)
    with torch.no_grad():
        norm.gain.weight[1], norm.bias.weight[1] = 3.0, -1.0
    given = norm(maps, torch.tensor([0, 1, 0, 0]))
    torch.testing.assert_close(given[0], plain[0])
    torch.testing.assert_close(given[1], 3 * plain[1] - 1)


@pytest.mark.parametrize("field", [{"classes": -1}, {"generator_width": 0}, {"image_size": 20}])
def test_impossible_fields_are_refused(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        SNGANProjection(**field)
