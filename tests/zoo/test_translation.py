import pytest
import torch
from torch import nn
from torch.nn import functional as F

from zoo.models.translate.cyclegan import CycleGAN
from zoo.translation import random_crop
from zoo.translators import TRANSLATORS, UPSAMPLERS, Blur, PatchDiscriminator, ReflectionPad, ResNet, UNet


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_sizes_are_the_papers():
    assert count(ResNet(3, 3, 64, 9)) == 11_378_179
    assert count(ResNet(3, 3, 64, 6)) == 7_837_699
    assert count(UNet(3, 3, 64, 8)) == 54_414_019
    assert count(PatchDiscriminator(3, 64, 3)) == 2_764_737


def test_work_is_the_papers():
    """49.6 GMAC at 256x256; counted at a transposed convolution's output, as many tools do, 56.8."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        ResNet(3, 3, 64, 9)(torch.zeros(1, 3, 64, 64))
    macs = counter.get_total_flops() / 2 * 16
    assert macs == pytest.approx(49.55e9, rel=1e-3)
    transposed = 9 * (256 * 128 * 64**2 + 128 * 64 * 128**2)
    assert macs + 3 * transposed == pytest.approx(56.8e9, rel=1e-3)


@pytest.mark.parametrize("name", TRANSLATORS)
def test_a_translator_keeps_the_size(name):
    kind = TRANSLATORS[name]
    translator = kind.make(3, 3, 4).eval()
    for height, width in ((kind.least, kind.least), (kind.least, 2 * kind.least + kind.multiple)):
        image = torch.rand(2, 3, height, width) * 2 - 1
        with torch.no_grad():
            translated = translator(image)
        assert translated.shape == image.shape
        assert translated.abs().max() <= 1


@pytest.mark.parametrize("name", ["resnet-6", "unet-32"])
@pytest.mark.parametrize(("channels", "translated"), [(1, 3), (3, 1)])
def test_a_translation_may_have_other_channels(name, channels, translated):
    translator = TRANSLATORS[name].make(channels, translated, 4).eval()
    assert translator(torch.zeros(2, channels, 32, 64)).shape == (2, translated, 32, 64)


@pytest.mark.parametrize("name", ["resnet-6", "unet-32"])
def test_what_is_beside_an_image_in_its_batch_does_not_change_it(name):
    torch.manual_seed(0)
    translator = TRANSLATORS[name].make(3, 3, 8).eval()
    images = torch.rand(3, 3, 32, 64) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(translator(images)[1:2], translator(images[1:2]), atol=1e-5)


def test_the_pad_is_the_reflection_in_training_and_not():
    """Its gradient is torch's too, from operations that are deterministic on every device."""
    pad = ReflectionPad(3)
    images = torch.randn(2, 3, 5, 7, dtype=torch.double)
    expected = F.pad(images, [3] * 4, mode="reflect")
    assert torch.equal(pad.eval()(images), expected)
    assert torch.equal(pad.train()(images), expected)
    assert torch.autograd.gradcheck(pad, images.requires_grad_())


def test_a_patch_is_seventy_pixels():
    """A score depends on 70x70 pixels with three halvings, on 34x34 with two: its gradient says so.

    Normalisation reaches further, so it is left out.
    """
    for layers, size in ((3, 70), (2, 34), (1, 16)):
        judge = PatchDiscriminator(1, 4, layers)
        for index, module in enumerate(judge.stages):
            if isinstance(module, nn.InstanceNorm2d):
                judge.stages[index] = nn.Identity()
        image = torch.zeros(1, 1, 128, 128, requires_grad=True)
        scores = judge(image)
        side = int(len(scores) ** 0.5)
        scores.reshape(side, side)[side // 2, side // 2].backward()
        seen = image.grad[0, 0].nonzero()
        assert (seen.max(0).values - seen.min(0).values + 1).tolist() == [size, size]


def test_crops_are_of_the_size_and_mirrored_half_the_time():
    torch.manual_seed(0)
    entry = CycleGAN(image_size=(24, 28), resize=1.25)
    assert entry.sample_shape == ((3, 30, 35), (3, 30, 35))
    assert entry.scored_shape == ((3, 24, 28), (3, 24, 28))
    assert CycleGAN(channels_a=1).scored_shape == ((1, 256, 256), (3, 256, 256))
    columns = torch.arange(35.0).expand(200, 1, 30, 35)
    crops = entry.crop(columns)
    assert crops.shape == (200, 1, 24, 28)
    mirrored = crops[:, 0, 0, 0] > crops[:, 0, 0, 1]
    assert 70 < mirrored.sum() < 130
    starts = crops[:, 0, 0].min(1).values
    assert set(starts.tolist()) == set(range(8))
    assert entry.center(columns)[0, 0, 0, 0] == 3
    still = CycleGAN(image_size=(24, 28), resize=1, flip=False)
    assert torch.equal(still.crop(columns[..., :24, :28]), columns[..., :24, :28])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image_size", (30, 32)),
        ("image_size", (4, 32)),
        ("image_size", (32, 32)),
        ("translator", "resnet-7"),
        ("resize", 0.9),
        ("resize", float("nan")),
        ("learning_rate", float("inf")),
        ("width", 0),
        ("channels_a", 0),
        ("channels_b", 0),
        ("learning_rate", 0.0),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(field, value):
    fields = {"translator": "unet-64"} if value == (32, 32) else {}
    with pytest.raises(ValueError, match=field):
        CycleGAN(**{field: value, **fields})


def test_a_discriminator_must_see_something():
    with pytest.raises(ValueError, match="discriminator_layers"):
        CycleGAN(image_size=(16, 16))
    assert CycleGAN(image_size=(16, 16), discriminator_layers=2)


def test_weights_start_as_in_the_papers():
    torch.manual_seed(0)
    entry = CycleGAN(width=32)
    for module in (*entry.make_translator(3, 3).modules(), *entry.make_discriminator(3).modules()):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
            assert not module.bias.any()


@pytest.mark.parametrize("upsample", UPSAMPLERS)
def test_every_way_of_upsampling_keeps_the_parameters_and_the_size(upsample):
    network = ResNet(3, 3, 64, 9, upsample)
    assert count(network) == count(ResNet(3, 3, 64, 9)), "a blur has no weights"
    narrow = ResNet(3, 1, 4, 6, upsample)
    assert narrow(torch.randn(2, 3, 32, 24)).shape == (2, 1, 32, 24)


def test_a_blur_is_a_low_pass_that_keeps_the_mean():
    flat, checks = torch.full((1, 2, 8, 8), 3.0), torch.ones(1, 2, 8, 8)
    checks[:, :, ::2, 1::2] = checks[:, :, 1::2, ::2] = -1
    assert torch.equal(Blur(1)(flat), flat)
    assert Blur(1)(checks).abs().max() == 0, "the finest grid is gone"
    assert Blur(2)(flat).shape == (1, 2, 4, 4)
    doubled = nn.Upsample(scale_factor=2)(torch.randn(1, 2, 5, 5))
    assert torch.allclose(
        Blur(1)(doubled),
        F.interpolate(doubled[:, :, ::2, ::2], scale_factor=2, mode="bilinear"),
        atol=1e-6,
    ), "repeated values and a blur are bilinear"


def test_a_u_net_has_transposed_convolutions_only():
    with pytest.raises(ValueError, match="upsample must be transposed for unet-256; got resize"):
        CycleGAN(translator="unet-256", upsample="resize")


def test_older_runs_upsampled_by_transposed_convolutions():
    assert CycleGAN.present({"width": 8})["upsample"] == "transposed"


def test_crops_are_parts_of_the_image_and_reach_every_place():
    image, seen = torch.arange(30).reshape(1, 5, 6), set()
    torch.manual_seed(0)
    for _ in range(200):
        crop = random_crop(image, 3, 4)
        top, left = divmod(int(crop[0, 0, 0]), 6)
        assert torch.equal(crop, image[:, top : top + 3, left : left + 4])
        seen.add((top, left))
    assert seen == {(top, left) for top in range(3) for left in range(3)}


def test_a_crop_of_the_whole_is_the_image():
    image = torch.rand(3, 8, 8)
    assert torch.equal(random_crop(image, 8, 8), image)
