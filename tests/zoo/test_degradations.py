import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from zoo.degradations import bicubic, blurred, compressed, real


def smooth(channels, height, width, seed=0):
    """Smooth pictures with an edge, in [-1, 1]."""
    draws = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, channels, 6, 6, generator=draws) * 2 - 1
    image = F.interpolate(coarse, (height, width), mode="bicubic").clamp(-1, 1)
    image[:, :, :, width // 2 :] *= -1
    return ((image + 1) * 127.5).round() / 127.5 - 1


def levels(images):
    return ((images + 1) * 127.5).round().byte()


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_images_are_reduced_as_pillow_reduces_them(scale):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48), np.uint8)
    pixels[:, 24:] = 255
    floats = Image.fromarray(pixels.astype(np.float32))
    resized = floats.resize((48 // scale, 32 // scale), Image.Resampling.BICUBIC)
    by_pillow = np.asarray(resized).round().clip(0, 255)
    ours = levels(bicubic(torch.from_numpy(pixels)[None, None] / 127.5 - 1, scale))[0, 0].numpy()
    assert ours.shape == by_pillow.shape
    assert np.abs(ours.astype(int) - by_pillow).max() <= 1


def test_reduced_images_are_levels_of_a_file():
    small = (bicubic(torch.rand(2, 3, 16, 16) * 2 - 1, 2) + 1) * 127.5
    torch.testing.assert_close(small, small.round())
    assert small.min() >= 0
    assert small.max() <= 255


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [10, 50, 75, 95])
@pytest.mark.parametrize("size", [(64, 48), (37, 50)])
def test_compressed_images_are_those_of_a_jpeg_file(channels, quality, size):
    image = smooth(channels, *size)
    pixels = levels(image)[0].permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    by_pillow = np.asarray(Image.open(file)).reshape(pixels.shape).astype(int)
    ours = levels(compressed(image, quality))[0].permute(1, 2, 0).numpy()
    change, difference = np.abs(by_pillow - pixels).mean(), np.abs(by_pillow - ours).mean()
    assert difference < 0.5 + 0.2 * change
    assert np.abs(by_pillow - ours).max() < 0.5 * np.abs(by_pillow - pixels).max() + 12


def test_less_quality_is_farther_from_the_image():
    image = smooth(3, 64, 64)
    errors = [(compressed(image, quality) - image).abs().mean().item() for quality in (95, 75, 40, 10)]
    assert errors == sorted(errors)
    assert errors[0] < 0.5 * errors[-1]


def test_a_blur_spreads_a_point_along_its_axes():
    point = torch.zeros(1, 1, 31, 31)
    point[0, 0, 15, 15] = 1
    spot = blurred(point, 2.0, 0.8, 0.0)[0, 0]
    places = torch.arange(31.0) - 15
    assert spot.sum() == pytest.approx(1, abs=1e-5)
    assert (spot.sum(0) * places**2).sum().sqrt() == pytest.approx(2.0, abs=0.05), "along the rows"
    assert (spot.sum(1) * places**2).sum().sqrt() == pytest.approx(0.8, abs=0.05), "along the columns"
    turned = blurred(point, 2.0, 0.8, torch.pi / 2)[0, 0]
    torch.testing.assert_close(turned, spot.T, atol=1e-6, rtol=0)


def test_real_degradations_differ_and_are_worse_than_bicubic():
    image = smooth(3, 256, 256).expand(8, -1, -1, -1)
    torch.manual_seed(0)
    worse, plain = real(image, 2), bicubic(image, 2)
    assert worse.shape == (8, 3, 128, 128)
    torch.testing.assert_close((worse + 1) * 127.5, ((worse + 1) * 127.5).round())
    errors = (worse - plain).abs().mean((1, 2, 3))
    assert errors.min() > 1 / 127.5
    assert errors.max() > 2 * errors.min(), "each image has its own"
    torch.manual_seed(0)
    assert torch.equal(real(image, 2), worse)
