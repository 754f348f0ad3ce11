"""EfficientNet-Lite0 (Tan and Le 2019, without squeeze-and-excitation): a pretrained network of images.

Its weights are handed in: this module has none.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from zoo.errors import ConfigError

FEATURES = 1280
MEAN, SCALE = 127, 128
"""Normalisation of pixel values, 0 to 255, that the published weights were trained with."""

ENDS = (4, 6, 12, 17)
"""Places of the layers that give the last feature maps of 1/4, 1/8, 1/16 and 1/32 of the input's size."""

MAPS = (24, 40, 112, 320)
"""Channels of these feature maps."""

STAGES = (
    (1, 16, 3, 1, 1),
    (2, 24, 3, 2, 6),
    (2, 40, 5, 2, 6),
    (3, 80, 3, 2, 6),
    (3, 112, 5, 1, 6),
    (4, 192, 5, 2, 6),
    (1, 320, 3, 1, 6),
)
"""Stages of the network: blocks, channels, kernel size, stride and expansion (Tan and Le 2019, table 1)."""


def convolution(before: int, after: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a convolution with batch normalisation and TensorFlow's padding, for inputs of even sides."""
    low, high = (kernel - stride) // 2, (kernel - stride + 1) // 2
    return nn.Sequential(
        nn.ZeroPad2d((low, high, low, high)) if low != high else nn.Identity(),
        nn.Conv2d(before, after, kernel, stride, low if low == high else 0, groups=groups, bias=False),
        nn.BatchNorm2d(after, eps=1e-3),
    )


class Block(nn.Module):
    """Inverted residual block (Sandler et al. 2018)."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        expand = [convolution(before, wide), nn.ReLU6()] if expansion > 1 else []
        depthwise = [convolution(wide, wide, kernel, stride, groups=wide), nn.ReLU6()]
        self.body = nn.Sequential(*expand, *depthwise, convolution(wide, after))
        self.residual = stride == 1 and before == after

    def forward(self, images: Tensor) -> Tensor:
        """Return the output of the block."""
        out: Tensor = self.body(images)
        return images + out if self.residual else out


class Network(nn.Sequential):
    """EfficientNet-Lite0 without its last layer: (N, 3, H, W) to (N, 1280). The sides are multiples of 32.

    The order of its weights is that of the published network.
    """

    def __init__(self) -> None:
        layers: list[nn.Module] = [convolution(3, 32, 3, 2), nn.ReLU6()]
        before = 32
        for blocks, after, kernel, stride, expansion in STAGES:
            for index in range(blocks):
                layers.append(Block(before, after, kernel, 1 if index else stride, expansion))
                before = after
        layers += [convolution(before, FEATURES), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        super().__init__(*layers)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return the last feature maps (N, `MAPS`, H / r, W / r) of each reduction r of 4, 8, 16 and 32."""
        found = []
        for number, layer in enumerate(list(self)[: ENDS[-1] + 1]):
            images = layer(images)
            if number in ENDS:
                found.append(images)
        return found


def fuse(network: nn.Module) -> None:
    """Fold each batch normalisation into the convolution before it. The network is then faster."""
    for layers in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        match list(layers):
            case [_, nn.Conv2d() as before, nn.BatchNorm2d() as norm]:
                layers[1], layers[2] = fuse_conv_bn_eval(before, norm), nn.Identity()


def must_be_loaded(network: "Frozen | None") -> "Frozen":
    """Return a pretrained network that a training step needs.

    Raises:
        ConfigError: its weights were not loaded.
    """
    if network is None:
        raise ConfigError(
            "the weights of the pretrained network must be loaded before a training step; got none; use "
            "load_pretrained of the trainer"
        )
    return network


class Frozen:
    """A pretrained EfficientNet-Lite0 in evaluation mode, whose weights get no gradients.

    It is not a module, so that checkpoints, optimizers and spectral normalisation do not contain it.
    """

    def __init__(self, weights: dict[str, Tensor], device: torch.device | str) -> None:
        with torch.device("meta"):  # draws no random numbers
            self.network = Network()
        self.network.load_state_dict({name: value.clone() for name, value in weights.items()}, assign=True)
        fuse(self.network.eval())
        self.network.eval().requires_grad_(False)
        # Backward passes are twice as fast on the CPU.
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    # Compiling its many layers takes minutes.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def __call__(self, images: Tensor, size: int) -> list[Tensor]:
        """Return four feature maps of images (N, 1 or 3, H, W) in [-1, 1], resized to a height and width.

        Their channels are `MAPS`, and their sizes 1/4, 1/8, 1/16 and 1/32. Grey images are repeated over
        three channels. The network computes in float32, also under autocast: in bfloat16, the errors of the
        scores are seven times as large.
        """
        smaller = size < images.shape[2]
        sized = F.interpolate(images, (size, size), mode="bilinear", antialias=smaller, align_corners=False)
        prepared = ((sized + 1) * 127.5 - MEAN) / SCALE
        coloured = prepared.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, enabled=False):
            return self.network.maps(coloured.float())
