"""What images are compared by: the features of a small classifier trained here, or of Inception."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from serving.errors import UserError
from serving.system.progress import progress
from training.data.dataset import Dataset, read
from training.data.transforms import normalise
from training.run import checkpoint

STEPS, BATCH, TEST = 600, 128, 10_000
FEATURES = 128
SMALLEST = 8
FORMAT = 1
"""Raised whenever the classifier changes, so that one kept from before is not taken for it."""


class Seen(NamedTuple):
    """What an extractor makes of N images."""

    features: Tensor
    """float32 (N, D)."""

    classes: Tensor | None
    """The class that each is taken for, (N,), where the extractor tells classes."""


class Extractor(Protocol):
    """Looks at images, uint8 (N, C, H, W) on the CPU."""

    classes: int
    """How many classes it tells; 0: none."""

    def describe(self) -> dict[str, str | float]:
        """Name it well enough for another to tell whether two scores compare."""
        ...

    def __call__(self, images: Tensor) -> Seen:
        """Extract features."""
        ...


def open_extractor(name: str, data: Dataset, shape: tuple[int, ...], device: torch.device) -> Extractor:
    """Open an extractor by name: `classifier`, `inception`, or `auto`, the first where there are labels.

    Raises:
        UserError: there is no such extractor, its package is not there, or the data have no labels.
    """
    if name == "auto":
        name = "classifier" if data.labels else "inception"
    match name:
        case "classifier":
            return Classifier.of(data, shape, device)
        case "inception":
            return Inception(device)
        case _:
            raise UserError(f"features must be auto, classifier or inception; got {name}")


class Network(nn.Module):
    """Three convolutions and two linear layers, for images (N, C, H, W) of at least 8x8 in [-1, 1]."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for before, after in ((channels, 16), (16, 32), (32, 64)):
            stages += [
                nn.Conv2d(before, after, 3, padding=1),
                nn.BatchNorm2d(after),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        self.body = nn.Sequential(
            *stages, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64 * 16, FEATURES), nn.ReLU()
        )
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Give features (N, 128) and the classes' scores (N, classes)."""
        features = self.body(images)
        return features, self.head(features)


class Classifier:
    """A small network that was taught the data's classes; its last hidden layer is the features."""

    def __init__(self, network: Network, classes: int, described: dict[str, str | float]) -> None:
        self.network, self.classes, self.described = network.eval(), classes, described

    @staticmethod
    def of(data: Dataset, shape: tuple[int, ...], device: torch.device) -> "Classifier":
        """Train one, or take the one of the same data, shape and seed that was trained before.

        Raises:
            ValueError: the data have no labels, or are vectors.
        """
        if not data.labels or len(shape) != 3:
            raise UserError(f"a classifier wants labelled images; {data.name} has none: use inception")
        if min(shape[1:]) < SMALLEST:
            raise UserError(f"a classifier wants images of at least {SMALLEST} pixels a side; got {shape}")
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # the CPU's alone
            network = Network(shape[0], len(data.labels))
        # Folders may share a name: the first examples tell them apart, and what was changed in them.
        first = hashlib.sha256(data.batch(0, BATCH)["real"].numpy().tobytes()).hexdigest()
        identity = {"data": data.name, "first": first, "shape": shape, "steps": STEPS, "format": FORMAT}
        folder = _kept() / hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
        if (found := checkpoint.load(folder)) is None:
            state = _train(network, data, device)
            folder.mkdir(parents=True, exist_ok=True)
            checkpoint.save(folder, STEPS, state, keep=1)
        else:
            state = found[1]
        network.load_state_dict(state["network"])
        described = {
            "name": "classifier",
            "data": data.name,
            "size": FEATURES,
            "steps": STEPS,
            "seed": 0,
            "accuracy": state["accuracy"],
            "sha256": _digest(network),
        }
        return Classifier(network.to(device), len(data.labels), described)

    def describe(self) -> dict[str, str | float]:
        """Name the data, the training, its accuracy on held-out data, and the weights' SHA-256."""
        return self.described

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Seen:
        """Extract features, and tell the class that each image is most like."""
        (device,) = {parameter.device for parameter in self.network.parameters()}
        features, scores = self.network(normalise(images.to(device)))
        return Seen(features.cpu(), scores.argmax(1).cpu())


class Inception:
    """The Inception network of the published FIDs, whose weights torch-fidelity downloads at first use."""

    classes = 0

    def __init__(self, device: torch.device) -> None:
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise UserError(
                "Inception's features, which data without labels are compared by, want another package: "
                "pip install 'gan-zoo[inception]'"
            ) from error
        self.device = device
        self.network: Any = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).to(device).eval()

    def describe(self) -> dict[str, str | float]:
        """Name the network."""
        return {"name": "inception", "size": 2048, "sha256": _digest(self.network)}

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Seen:
        """Extract features; grey is repeated to colour, and the network resizes."""
        (features,) = self.network(images.expand(-1, 3, -1, -1).to(self.device))
        return Seen(features.float().cpu(), None)


def _train(network: Network, data: Dataset, device: torch.device) -> checkpoint.State:
    """Teach a network the data's classes."""
    network.to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=STEPS)
    with progress(STEPS, f"classifier of {data.name}", "steps") as advance:
        for step in range(STEPS):
            batch = data.batch(step, BATCH)
            loss = F.cross_entropy(network(batch["real"].to(device))[1], batch["label"].to(device))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            advance()
    return {"network": network.cpu().state_dict(), "accuracy": _accuracy(network, data)}


@torch.no_grad()
def _accuracy(network: Network, data: Dataset) -> float:
    """Give the share of held-out examples whose class is told right; of the data's own where none are."""
    network.eval()
    held_out = data.held_out() or data
    right = [
        network(batch["real"])[1].argmax(1) == batch["label"]
        for batch in read(held_out, int(min(TEST, held_out.size)))
    ]
    return torch.cat(right).float().mean().item()


def _digest(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _kept() -> Path:
    """Where trained classifiers are kept: GANZOO_CACHE, or gan-zoo in the user's cache."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gan-zoo"
    return Path(os.environ.get("GANZOO_CACHE") or default) / "classifiers"
