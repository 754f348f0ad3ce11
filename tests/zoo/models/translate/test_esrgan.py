import pytest
import torch

from zoo.models.translate.esrgan import ESRGAN, Discriminator, Generator, relativistic

SMALL = {
    "image_size": 32,
    "crop_size": 32,
    "scale": 2,
    "width": 8,
    "growth": 4,
    "blocks": 1,
    "discriminator_width": 4,
    "channels": 3,
    "batch_size": 4,
    "pixel_steps": 0,
}


def size(network):
    return sum(p.numel() for p in network.parameters())


def ready(weights, **fields):
    torch.manual_seed(0)
    trainer = ESRGAN(**SMALL | fields).build()
    trainer.load_pretrained(weights)
    return trainer


def test_the_networks_have_the_papers_sizes():
    """16.70 million parameters of the generator, and VGG's channels for crops of 128x128 (Wang 2018)."""
    assert size(Generator(ESRGAN(channels=3))) == 16_697_987
    layers = [p.shape[:2] for p in Discriminator(ESRGAN(channels=3)).parameters() if p.dim() == 4]
    assert [tuple(each) for each in layers] == [
        *((64, 3), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256)),
        *((512, 256), (512, 512), (512, 512), (512, 512)),
    ]


@pytest.mark.parametrize(("scale", "channels", "shape"), [(2, 3, (5, 7)), (4, 1, (1, 3)), (8, 3, (2, 2))])
def test_any_size_is_enlarged(scale, channels, shape):
    generator = Generator(ESRGAN(**SMALL | {"scale": scale, "channels": channels}))
    enlarged = generator(torch.randn(2, channels, *shape))
    assert enlarged.shape == (2, channels, scale * shape[0], scale * shape[1])


@pytest.mark.parametrize("crop", [8, 16, 24, 32])
def test_crops_of_any_size_get_one_score(crop):
    discriminator = Discriminator(ESRGAN(**SMALL | {"crop_size": crop}))
    assert discriminator(torch.randn(2, 3, crop, crop)).shape == (2, 1)


def test_the_first_steps_are_of_pixels_only(weights):
    trainer = ready(weights, pixel_steps=2)
    batch = {"real": torch.rand(4, 3, 32, 32) * 2 - 1}
    discriminator = [p.clone() for p in trainer.discriminator.parameters()]
    for _ in range(2):
        assert list(trainer.step(batch)) == ["distance"]
    assert all(map(torch.equal, discriminator, trainer.discriminator.parameters()))
    scalars = trainer.step(batch)
    assert {"generator_loss", "perceptual_distance", "discriminator_loss"} < scalars.keys()
    assert all(torch.isfinite(value) for value in scalars.values())
    assert not any(map(torch.equal, discriminator, trainer.discriminator.parameters()))


def test_the_stage_is_part_of_the_state(weights):
    trainer, other = ready(weights, pixel_steps=1), ready(weights, pixel_steps=1)
    trainer.step({"real": torch.zeros(4, 3, 32, 32)})
    other.load_state_dict(trainer.state_dict())
    assert "discriminator_loss" in other.step({"real": torch.zeros(4, 3, 32, 32)})


def test_the_weights_of_the_losses_are_obeyed(weights):
    """The generator's first gradient of all losses is the weighted sum of those of each."""
    batch = {"real": torch.rand(4, 3, 32, 32) * 2 - 1}

    def gradient(**fields):
        trainer = ready(weights, flip=False, **fields)
        trainer.step(batch)
        return trainer.generator.first.weight.grad.clone()

    none = {"pixel_weight": 0.0, "perceptual_weight": 0.0, "adversarial_weight": 0.0}
    alone = [gradient(**none | {name: 1.0}) for name in none]
    together = gradient(pixel_weight=0.5, perceptual_weight=2.0, adversarial_weight=3.0)
    torch.testing.assert_close(together, 0.5 * alone[0] + 2 * alone[1] + 3 * alone[2], rtol=1e-3, atol=1e-6)
    assert all(each.abs().max() > 0 for each in alone)


def test_scores_are_compared_with_the_mean_of_the_others():
    higher, lower = torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [-2.0]])
    better = torch.nn.functional.softplus(torch.tensor([-2.0, -4.0])).mean()
    worse = torch.nn.functional.softplus(torch.tensor([-2.0, -4.0])).mean()
    torch.testing.assert_close(relativistic(higher, lower), (better + worse) / 2)
    assert relativistic(lower, higher) > 2 * relativistic(higher, lower)


def test_without_the_pretrained_network_there_is_no_step():
    trainer = ESRGAN(**SMALL).build()
    with pytest.raises(ValueError, match="weights of the pretrained network must be loaded"):
        trainer.step({"real": torch.zeros(4, 3, 32, 32)})


@pytest.mark.parametrize(
    "field", [{"growth": 0}, {"pixel_steps": -1}, {"pixel_weight": -1.0}, {"crop_size": 4}]
)
def test_impossible_fields_are_refused(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        ESRGAN(**SMALL | field)
