import pytest
import torch
from torch import nn

from zoo.models.fastgan import FastGAN
from zoo.models.fastgan_projection import FastGANProjection

SMALL = {"width": 4, "channels": 3, "batch_size": 4, "latent_size": 16, "label_size": 5, "classes": 3}
LABELS = torch.tensor([2, 0, 1, 1])


def test_without_labels_the_networks_are_those_of_fastgan():
    fields = {name: value for name, value in SMALL.items() if name not in ("classes", "label_size")}
    plain = FastGAN(**fields | {"latent_size": 21}).networks()
    sizes = [sum(p.numel() for p in player.parameters()) for player in plain]
    conditional = FastGANProjection(**SMALL).networks()
    of_labels = [conditional[0].embedding, conditional[1].embedding]
    for network, label, size in zip(conditional, of_labels, sizes, strict=True):
        assert sum(p.numel() for p in network.parameters()) == size + label.weight.numel()


@pytest.mark.parametrize(("size", "channels"), [(64, 3), (128, 1)])
def test_every_layer_of_the_discriminator_is_normalised_and_scores_parts(size, channels):
    entry = FastGANProjection(**SMALL | {"image_size": size, "channels": channels})
    trainer = entry.build()
    images = trainer.generator(torch.randn(4, 16), LABELS)
    assert images.shape == (4, *entry.sample_shape)
    assert trainer.discriminator(images, label=LABELS).shape == (4, 25)
    scalars = trainer.step({"real": images.detach(), "label": LABELS})
    assert all(torch.isfinite(value) for value in scalars.values())
    layers = [m for m in trainer.discriminator.modules() if isinstance(m, nn.Conv2d)]
    assert all(nn.utils.parametrize.is_parametrized(layer, "weight") for layer in layers)


def test_the_score_is_that_of_the_part_plus_the_inner_product_with_the_embedded_label():
    discriminator = FastGANProjection(**SMALL).networks()[1].eval()
    images = torch.randn(4, 3, 64, 64)
    features = discriminator.features(discriminator.to_8(discriminator.to_16(images)))
    found = discriminator(images, LABELS).reshape(4, 5, 5)
    row, column = 3, 1
    part = features[:, :, row : row + 4, column : column + 4]
    kernels = discriminator.score[0].weight + discriminator.embedding.weight[LABELS]
    torch.testing.assert_close(found[:, row, column], (part * kernels).sum((1, 2, 3)))


@pytest.mark.slow
def test_it_learns_what_the_labels_mean():
    """Each class is a grey of its own. With the labels shuffled, nothing can be learnt of them."""
    greys = torch.tensor([-0.8, 0.0, 0.8])

    def contrast(shuffled: bool) -> float:
        torch.manual_seed(0)
        trainer = FastGANProjection(**SMALL | {"batch_size": 12}, augment=(), learning_rate=2e-3).build()
        labels = torch.arange(12) % 3
        for _ in range(40):
            given = labels[torch.randperm(12)] if shuffled else labels
            trainer.step({"real": greys[labels].reshape(-1, 1, 1, 1).expand(-1, 3, 64, 64), "label": given})
        with torch.no_grad():
            means = trainer.generator(torch.randn(12, 16), labels).mean((1, 2, 3)).reshape(4, 3).mean(0)
        return float(means[2] - means[0])

    assert contrast(shuffled=False) > 0.4
    assert abs(contrast(shuffled=True)) < 0.2


@pytest.mark.parametrize(
    "field", [{"classes": -1}, {"label_size": 0}, {"image_size": 32}, {"objective": "softmax"}]
)
def test_impossible_fields_are_refused(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        FastGANProjection(**field)
