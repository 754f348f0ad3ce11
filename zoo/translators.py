"""Networks for image-to-image translation: ResNet, U-Net and the PatchGAN discriminator."""

import dataclasses
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TranslatorName = Literal["resnet-9", "resnet-6", "unet-256", "unet-128", "unet-64", "unet-32"]
UpsampleName = Literal["transposed", "resize", "antialiased"]


class ReflectionPad(nn.Module):
    """Reflection padding of images (N, C, H, W) with a deterministic gradient.

    The gradient of torch's reflection padding is not deterministic on CUDA. During training the padding is
    therefore a concatenation of flipped slices.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """Pad the left and right edges, then the upper and lower edges."""
        if not self.training:  # no gradient is needed, and one operation is faster
            return F.pad(images, [self.size] * 4, mode="reflect")
        for dimension in (3, 2):
            size = images.shape[dimension]
            before = images.narrow(dimension, 1, self.size).flip(dimension)
            after = images.narrow(dimension, size - 1 - self.size, self.size).flip(dimension)
            images = torch.cat([before, images, after], dimension)
        return images


class Blur(nn.Module):
    """Low-pass filter of feature maps (N, C, H, W) by [1, 2, 1] / 4 along both axes, without weights.

    Before it drops every second value, or after every value was doubled, it prevents aliasing (Zhang 2019).
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.pad, self.stride = ReflectionPad(1), stride
        kernel = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("kernel", kernel[:, None] * kernel, persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Filter, and keep every value or, with a stride of 2, every second one."""
        width = maps.shape[1]
        kernel = self.get_buffer("kernel").to(maps.dtype).expand(width, 1, 3, 3)
        return F.conv2d(self.pad(maps), kernel, stride=self.stride, groups=width)


class Tap(NamedTuple):
    """Where feature maps of a translator can be taken."""

    layer: int
    """Number of layers that an image passes through; 0 is the image itself."""

    channels: int

    factor: int
    """Size of the image in multiples of that of the feature maps."""


class ResNet(nn.Module):
    """ResNet translator of images (N, C, H, W) in [-1, 1] to images (N, C', H, W), H and W multiples of 4.

    Two downsampling layers, residual blocks and two upsampling layers. Source: Johnson et al. 2016, with the
    instance normalisation of Ulyanov et al. 2016, as in Zhu et al. 2017, appendix 7.2.

    Args:
        channels: channels of the images.
        translated: channels of their translations.
        width: channels of the first feature maps.
        blocks: number of residual blocks, at least 5.
        upsample: how the size is doubled: by `transposed` convolutions as in the papers, by repeated values
            and a convolution (`resize`, Odena et al. 2016), or by repeated values, a blur and a convolution
            (`antialiased`, Zhang 2019, which also blurs before the size is halved).
    """

    def __init__(
        self, channels: int, translated: int, width: int, blocks: int, upsample: UpsampleName = "transposed"
    ) -> None:
        super().__init__()
        widths = (width, 2 * width, 4 * width)
        layers: list[nn.Module] = [ReflectionPad(3), nn.Conv2d(channels, width, 7), *_normalised(width)]
        taps, factor = [Tap(0, channels, 1)], 1
        for before, after in pairwise(widths):
            stride = 1 if upsample == "antialiased" else 2
            layers.append(nn.Conv2d(before, after, 3, stride=stride, padding=1))
            taps.append(Tap(len(layers), after, factor * stride))
            layers += [*_normalised(after), *([Blur(2)] if stride == 1 else [])]
            factor *= 2
        taps += [Tap(len(layers) + number, widths[-1], factor) for number in (1, 5)]
        layers += [Residual(widths[-1]) for _ in range(blocks)]
        for before, after in pairwise(widths[::-1]):
            layers += [*UPSAMPLERS[upsample](before, after), *_normalised(after)]
        layers += [ReflectionPad(3), nn.Conv2d(width, translated, 7), nn.Tanh()]
        self.layers, self.taps = nn.Sequential(*layers), tuple(taps)

    def forward(self, image: Tensor) -> Tensor:
        """Translate images (N, C, H, W)."""
        translated: Tensor = self.layers(image)
        return translated

    def features(self, image: Tensor) -> list[Tensor]:
        """Return the feature maps at every tap.

        These are the image, both convolutions that precede a smaller size, and the first and the fifth
        residual block, as Park et al. 2020 compare them.
        """
        found = [image]
        for before, after in pairwise(self.taps):
            found.append(self.layers[before.layer : after.layer](found[-1]))
        return found


def _transposed(before: int, after: int) -> list[nn.Module]:
    return [nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=1)]


def _resize(before: int, after: int) -> list[nn.Module]:
    return [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, padding=1)]


def _antialiased(before: int, after: int) -> list[nn.Module]:
    return [nn.Upsample(scale_factor=2), Blur(1), nn.Conv2d(before, after, 3, padding=1)]


UPSAMPLERS: dict[UpsampleName, Callable[[int, int], list[nn.Module]]] = {
    "transposed": _transposed,
    "resize": _resize,
    "antialiased": _antialiased,
}
"""Layers that double the size of feature maps, by the channels before and after."""


class Residual(nn.Module):
    """Residual block of two 3x3 convolutions: (N, C, H, W) to the same shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second = nn.Conv2d(width, width, 3), nn.Conv2d(width, width, 3)
        self.layers = nn.Sequential(
            ReflectionPad(1), first, *_normalised(width), ReflectionPad(1), second, nn.InstanceNorm2d(width)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Add the output of the convolutions to the features."""
        changed: Tensor = self.layers(features)
        return features + changed


class UNet(nn.Module):
    """U-Net translator of images (N, C, H, W) in [-1, 1] to (N, C', H, W), H and W multiples of 2^levels.

    An encoder halves the size `levels` times, a decoder doubles it again, and skip connections concatenate
    their feature maps of the same size. The paper trains with a batch size of 1, where batch normalisation
    equals instance normalisation; this network uses instance normalisation for any batch size. Dropout is
    active during training only. Source: Isola et al. 2017, appendix 6.1.
    """

    def __init__(self, channels: int, translated: int, width: int, levels: int) -> None:
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(levels)]
        self.down = nn.ModuleList([nn.Conv2d(channels, width, 4, stride=2, padding=1)])
        for before, after in pairwise(widths[:-1]):
            self.down.append(nn.Sequential(nn.LeakyReLU(0.2), _halve(before, after), _affine(after)))
        self.down.append(nn.Sequential(nn.LeakyReLU(0.2), _halve(widths[-2], widths[-1])))
        self.up = nn.ModuleList()
        for level in range(levels - 1, 0, -1):
            # The bottleneck has no skip connection; every other stage concatenates two feature maps.
            before = widths[level] * (1 if level == levels - 1 else 2)
            stage = [nn.ReLU(), _double(before, widths[level - 1]), _affine(widths[level - 1])]
            if level > levels - 4:
                stage.append(nn.Dropout(0.5))
            self.up.append(nn.Sequential(*stage))
        last = nn.ConvTranspose2d(2 * width, translated, 4, stride=2, padding=1)
        self.last = nn.Sequential(nn.ReLU(), last, nn.Tanh())

    def forward(self, image: Tensor) -> Tensor:
        """Translate images (N, C, H, W)."""
        features, joined = image, []
        for down in self.down:
            features = down(features)
            joined.append(features)
        joined.pop()
        for up in self.up:
            features = torch.cat([up(features), joined.pop()], 1)
        translated: Tensor = self.last(features)
        return translated


class PatchDiscriminator(nn.Module):
    """PatchGAN discriminator: images (N, C, H, W) to one raw score per patch, (patches, 1).

    Source: Isola et al. 2017, appendix 6.1.2; instance normalisation as in Zhu et al. 2017.
    """

    def __init__(self, channels: int, width: int, layers: int) -> None:
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(layers + 1)]
        stages: list[nn.Module] = [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for level, (before, after) in enumerate(pairwise(widths), 1):
            stride = 2 if level < layers else 1
            convolution = nn.Conv2d(before, after, 4, stride=stride, padding=1)
            stages += [convolution, nn.InstanceNorm2d(after), nn.LeakyReLU(0.2)]
        self.stages = nn.Sequential(*stages, nn.Conv2d(widths[-1], 1, 4, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        """Return the raw scores of all patches of all images, (patches, 1)."""
        scores: Tensor = self.stages(image)
        return scores.reshape(-1, 1)


def _normalised(width: int) -> tuple[nn.Module, nn.Module]:
    return nn.InstanceNorm2d(width), nn.ReLU()


def _affine(width: int) -> nn.Module:
    return nn.InstanceNorm2d(width, affine=True)


def _halve(before: int, after: int) -> nn.Module:
    return nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False)


def _double(before: int, after: int) -> nn.Module:
    return nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False)


def initialise(module: nn.Module) -> None:
    """Draw the weights of a convolution from N(0, 0.02) and set its bias to 0."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A translator architecture and the image sizes that it accepts."""

    make: Callable[..., nn.Module]
    """Function of the channels of images, those of their translations, and the width; builds the network. It
    takes `upsample` if there is a choice."""

    multiple: int
    """Number that must divide the height and width of an image."""

    least: int
    """Smallest height and width of an image."""

    upsamplers: tuple[UpsampleName, ...] = ("transposed",)
    """Ways of upsampling that there are."""


TRANSLATORS: dict[str, Kind] = {
    "resnet-9": Kind(partial(ResNet, blocks=9), 4, 8, tuple(UPSAMPLERS)),
    "resnet-6": Kind(partial(ResNet, blocks=6), 4, 8, tuple(UPSAMPLERS)),
    **{f"unet-{2**k}": Kind(partial(UNet, levels=k), 2**k, 2**k) for k in (8, 7, 6, 5)},
}
