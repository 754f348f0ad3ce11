import pytest
import torch
from torch import nn

from zoo.adversarial import frozen
from zoo.efficientnet import Frozen, Network
from zoo.models.fastgan import FastGAN
from zoo.models.projected_gan import ProjectedGAN, Projection

SMALL = {"width": 4, "projection_width": 4, "channels": 3, "batch_size": 4, "latent_size": 16}


def ready(weights, **fields):
    trainer = ProjectedGAN(**SMALL | fields).build()
    trainer.load_pretrained(weights)
    return trainer


@pytest.mark.parametrize(
    ("size", "channels", "side", "parts"), [(32, 3, 96, 9), (64, 1, 64, 4), (128, 3, 32, 1)]
)
def test_images_of_any_size_and_grey_ones_are_scored_in_parts_of_four_scales(
    size, channels, side, parts, weights
):
    trainer = ready(weights, image_size=size, channels=channels, feature_size=side)
    images = trainer.generator(torch.randn(2, 16))
    assert images.shape == (2, channels, size, size)
    assert trainer.discriminator(images).shape == (2, 4 * parts)
    scalars = trainer.step({"real": images.detach()})
    assert all(torch.isfinite(value) for value in scalars.values())


@pytest.mark.parametrize(("side", "parts"), [(128, 16), (160, 25), (224, 49), (256, 16), (288, 16)])
def test_larger_images_are_halved_until_there_are_about_4x4_parts(side, parts, weights):
    network = ready(weights, feature_size=side).discriminator.discriminator
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 4 * parts)


def test_grey_images_are_seen_as_grey_colours_and_sizes_as_they_are(weights):
    see, grey = Frozen(weights, "cpu"), torch.rand(2, 1, 64, 64) * 2 - 1
    for one, other in zip(see(grey, 64), see(grey.expand(-1, 3, -1, -1), 64), strict=True):
        assert torch.equal(one, other)
    network = Network()
    network.load_state_dict(weights)
    maps = network.eval().maps(((grey + 1) * 127.5 - 127).expand(-1, 3, -1, -1) / 128)
    for one, other in zip(see(grey, 64), maps, strict=True):
        assert torch.allclose(one, other, atol=1e-3), "pixels are normalised as for the pretrained network"


def test_nothing_of_the_frozen_network_is_trained_or_stored(weights):
    torch.manual_seed(0)
    trainer, bare = ready(weights), ProjectedGAN(**SMALL).build()
    network = trainer.discriminator.discriminator.frozen.network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trainer.discriminators.train()
    mixes = {name: mix.clone() for name, mix in trainer.discriminator.named_buffers() if "projection" in name}
    for _ in range(2):
        trainer.step({"real": torch.rand(4, 3, 64, 64) * 2 - 1})
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not [module for module in network.modules() if module.training]
    assert not [value for value in network.parameters() if value.requires_grad or value.grad is not None]
    assert len(mixes) == 7
    buffers = dict(trainer.discriminator.named_buffers())
    assert all(torch.equal(mix, buffers[name]) for name, mix in mixes.items()), "and mixes stay as drawn"
    assert not mixes.keys() & dict(trainer.discriminator.named_parameters()).keys()
    own = {id(value) for value in network.parameters()}
    trained = [v for o in trainer.optimizers.values() for g in o.param_groups for v in g["params"]]
    held = [*trained, *trainer.discriminators.parameters(), *trainer.generators.parameters()]
    assert not own & {id(value) for value in held}
    assert trainer.discriminators.state_dict().keys() == bare.discriminators.state_dict().keys()


def test_gradients_reach_the_image_through_the_frozen_network(weights):
    trainer, images = ready(weights, augment=()), torch.rand(2, 3, 64, 64, requires_grad=True)
    with frozen(trainer.discriminator):
        trainer.discriminator(images).sum().backward()
    assert images.grad.abs().sum((1, 2, 3)).min() > 0
    assert all(value.grad is None for value in trainer.discriminator.parameters())


def test_mixes_are_those_of_the_seed_and_add_smaller_maps_to_larger_ones():
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(Projection((4, 8, 16, 32)).state_dict())
    assert all(torch.equal(mix, drawn[1][name]) for name, mix in drawn[0].items())
    assert not any(torch.equal(mix, drawn[2][name]) for name, mix in drawn[0].items()), "the control"
    projection = Projection((4, 8, 16, 32))
    maps = [torch.zeros(1, width, 16 >> level, 16 >> level) for level, width in enumerate((24, 40, 112, 320))]
    maps[2] = torch.randn_like(maps[2])
    mixed = projection(maps)
    assert [tuple(each.shape) for each in mixed] == [(1, 4 << k, 16 >> k, 16 >> k) for k in range(4)]
    assert [bool(each.abs().max() > 0) for each in mixed] == [True, True, True, False], "it flows one way"


def test_the_weights_that_are_trained_are_those_of_four_small_discriminators():
    trainer = ProjectedGAN(channels=3, width=4).build()
    convolutions = 3 * 512 * 512 * 3**2 + 512 * 512 * 3**2 + 4 * 512
    halvings = 3 * 256 * 512 * 4**2 + 2 * 128 * 256 * 4**2 + 64 * 128 * 4**2
    biases = 4 * (512 + 1) + 3 * 512 + 2 * 256 + 128
    trained = sum(value.numel() for value in trainer.discriminator.parameters())
    assert trained == convolutions + halvings + biases == 16_914_564
    layers = [m for m in trainer.discriminator.modules() if isinstance(m, nn.Conv2d)]
    assert all(nn.utils.parametrize.is_parametrized(layer, "weight") for layer in layers)
    assert len(layers) == 4 * 2 + 3 + 2 + 1


def test_the_generator_is_that_of_fastgan_which_32x32_do_not_excite():
    ours, theirs = (kind(width=4, channels=3).build().generator for kind in (ProjectedGAN, FastGAN))
    shapes = [{name: value.shape for name, value in each.state_dict().items()} for each in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert len(ours.excitations) == 1
    small = ProjectedGAN(**SMALL | {"image_size": 32}).build().generator
    assert len(small.excitations) == 0


def test_the_frozen_network_computes_in_float32_under_autocast(weights):
    see, images = Frozen(weights, "cpu"), torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.autocast("cpu", torch.bfloat16):
        low, control = see(images, 64), see.network.maps(images)
    assert all(torch.equal(one, other) for one, other in zip(low, see(images, 64), strict=True))
    assert control[-1].dtype == torch.bfloat16, "the control"


def test_without_the_weights_all_but_a_step_works():
    trainer, batch = ProjectedGAN(**SMALL).build(), {"real": torch.zeros(4, 3, 64, 64)}
    assert trainer.generator(**trainer.inputs(batch)["generator"]).shape == (4, 3, 64, 64)
    with pytest.raises(ValueError, match="must be loaded before a training step; got none"):
        trainer.step(batch)


def test_a_regularizer_differentiates_the_frozen_network_twice(weights):
    trainer = ready(weights, regularizer="r1")
    scalars = trainer.step({"real": torch.rand(4, 3, 64, 64) * 2 - 1})
    assert scalars["penalty"] > 0
    assert all(torch.isfinite(value) for value in scalars.values())


@pytest.mark.parametrize(
    "field",
    [
        {"feature_size": 100},
        {"feature_size": 0},
        {"projection_width": 0},
        {"width": 0},
        {"objective": "softmax"},
    ],
)
def test_impossible_fields_are_refused(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        ProjectedGAN(**field)
