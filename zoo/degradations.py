"""Smaller and worse images, which super-resolution learns to restore."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Degradation = Callable[[Tensor, int], Tensor]
"""A function of images (N, C, H, W) in [-1, 1] and a scale to images at 1 / scale of their size.

The size must be a multiple of the scale. The images are rounded to 256 levels, as in a file.
"""

RADIUS, BLURS = 6, (0.2, 2.0)
"""Radius of the blur in pixels, and range of its standard deviations along its two axes."""

NOISES = (0.0, 20.0)
"""Range of the standard deviation of the noise, in levels."""

QUALITIES = (40, 95)
"""Range of the quality of JPEG."""

MODES = ("area", "bilinear", "bicubic")

LUMA = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99),
    *(99,) * 32,
)
"""Steps of the coefficients at quality 50, in rows (JPEG, ITU-T T.81, annex K)."""

FROM_RGB = torch.tensor(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], dtype=torch.float64
)
"""Luma and chroma of red, green and blue (JFIF)."""

BLOCK = 8


def bicubic(images: Tensor, scale: int) -> Tensor:
    """Reduce images by bicubic interpolation with antialiasing."""
    return _rounded(_resized(images, scale, "bicubic"))


def real(images: Tensor, scale: int) -> Tensor:
    """Blur images, reduce them in one of three ways, add noise and compress them as JPEG, each at random.

    The order of Wang et al. 2021 (Real-ESRGAN), once instead of twice, and without sinc filters. Random
    numbers are drawn on the CPU.
    """
    return torch.cat([_worse(image[None], scale) for image in images])


DEGRADATIONS: dict[str, Degradation] = {"bicubic": bicubic, "real": real}


def _worse(image: Tensor, scale: int) -> Tensor:
    mode = MODES[int(torch.randint(len(MODES), ()))]
    smaller = _resized(blurred(image, _between(*BLURS), _between(*BLURS), _between(0, math.pi)), scale, mode)
    noise = torch.randn(smaller.shape).to(smaller) * (_between(*NOISES) / 127.5)
    return compressed(_rounded(smaller + noise), round(_between(*QUALITIES)))


def _between(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _resized(images: Tensor, scale: int, mode: str) -> Tensor:
    if mode == "area":
        return F.avg_pool2d(images, scale)
    sides = [side // scale for side in images.shape[2:]]
    return F.interpolate(images, sides, mode=mode, antialias=True, align_corners=False)


def _rounded(images: Tensor) -> Tensor:
    return ((images + 1) * 127.5).round().clamp(0, 255) / 127.5 - 1


def blurred(images: Tensor, first: float, second: float, angle: float) -> Tensor:
    """Blur images (N, C, H, W) by a Gaussian with two standard deviations, in pixels, along turned axes."""
    places = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float64)
    y, x = torch.meshgrid(places, places, indexing="ij")
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    kernel = torch.exp(-((along / first) ** 2 + (across / second) ** 2) / 2)
    weights = (kernel / kernel.sum()).to(images).expand(images.shape[1], 1, -1, -1)
    return F.conv2d(F.pad(images, [RADIUS] * 4, mode="replicate"), weights, groups=images.shape[1])


def compressed(images: Tensor, quality: int) -> Tensor:
    """Return images (N, C, H, W) in [-1, 1] as they are after JPEG, with half the resolution of colours.

    Args:
        images: grey or RGB images.
        quality: 1 to 100, as in libjpeg.
    """
    height, width = images.shape[2:]
    unit = BLOCK if images.shape[1] == 1 else 2 * BLOCK
    levels = F.pad((images + 1) * 127.5, [0, -width % unit, 0, -height % unit], mode="replicate")
    if images.shape[1] == 1:
        levels = _quantised(levels - 128, LUMA, quality) + 128
    else:
        matrix = FROM_RGB.to(images)
        planes = torch.einsum("ij,njhw->nihw", matrix, levels)
        luma, chroma = planes[:, :1], planes[:, 1:]
        luma = _quantised(luma - 128, LUMA, quality) + 128
        chroma = _quantised(F.avg_pool2d(chroma, 2), CHROMA, quality)
        chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
        inverse = torch.linalg.inv(FROM_RGB).to(images)
        levels = torch.einsum("ij,njhw->nihw", inverse, torch.cat([luma, chroma], 1))
    return levels[:, :, :height, :width].round().clamp(0, 255) / 127.5 - 1


def _quantised(plane: Tensor, table: tuple[int, ...], quality: int) -> Tensor:
    """Round the cosine coefficients of blocks to multiples of the steps of a quality."""
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    steps = ((torch.tensor(table, dtype=torch.float64) * scale + 50) / 100).floor().clamp(1, 255)
    steps = steps.reshape(BLOCK, BLOCK).to(plane)
    places = torch.arange(BLOCK, dtype=torch.float64)
    cosines = torch.cos(math.pi / BLOCK * (places + 0.5) * places[:, None]) / 2
    cosines[0] /= math.sqrt(2)
    cosines = cosines.to(plane)
    count, channels, height, width = plane.shape
    blocks = plane.reshape(count, channels, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(3, 4)
    coefficients = (cosines @ blocks @ cosines.T / steps).round() * steps
    restored: Tensor = cosines.T @ coefficients @ cosines
    return restored.transpose(3, 4).reshape(plane.shape)
