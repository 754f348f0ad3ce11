"""Feature extractors for image scores, by name, and a small classifier trained on the dataset."""

import hashlib
import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from serving.errors import UserError
from serving.system.folders import must_be_writable, writable_or_temporary
from serving.system.progress import progress
from training.data.dataset import Dataset, read
from training.data.transforms import normalise
from training.evaluation.efficientnet import EfficientNet
from training.evaluation.extractor import Extractor, Seen
from training.run import checkpoint
from training.run.train_config import Features

STEPS, BATCH, TEST = 600, 128, 10_000
FEATURES = 128
SMALLEST = 8
FORMAT = 1
"""Version of the classifier. Increase it with every change, so that cached classifiers are not reused."""


def open_extractor(
    name: str,
    data: Dataset,
    shape: tuple[int, ...],
    device: torch.device,
    trained_against: Collection[str] = (),
) -> Extractor:
    """Open an extractor by name: `efficientnet`, `classifier`, `inception` or `auto`.

    `auto` selects the features that suit the dataset.

    Raises:
        UserError: the name is unknown, a package is not installed, the dataset has no labels, or the model
            was trained against the network of these features.
    """
    chosen = data.features if name == "auto" else name
    if chosen in trained_against:
        raise UserError(
            f"the features must be of another network than the one that the model was trained against; got "
            f"{chosen}{' from auto' if name == 'auto' else ''}; use inception or, for data with labels, "
            "classifier: --features of evaluate, --score-features of train"
        )
    match chosen:
        case "classifier":
            return Classifier.of(data, shape, device)
        case "efficientnet":
            return EfficientNet(device)
        case "inception":
            return Inception(device)
        case _:
            raise UserError(f"features must be one of {', '.join(get_args(Features))}; got {name}")


class Network(nn.Module):
    """Classifier with three convolutions and two linear layers.

    The input is images (N, C, H, W) in [-1, 1], of at least 8x8 pixels.
    """

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
        """Return features (N, 128) and logits (N, classes)."""
        features = self.body(images)
        return features, self.head(features)


class Classifier:
    """Extractor from a small classifier of the dataset. The features are its last hidden layer."""

    def __init__(self, network: Network, classes: int, described: dict[str, str | float]) -> None:
        self.network, self.classes, self.described = network.eval(), classes, described

    @staticmethod
    def of(data: Dataset, shape: tuple[int, ...], device: torch.device) -> "Classifier":
        """Train a classifier, or load a cached one for the same data and image shape.

        Raises:
            UserError: the dataset has no labels, or its examples are vectors or images below 8x8 pixels.
            OSError: the cache can't be written.
        """
        if not data.labels or len(shape) != 3:
            raise UserError(
                f"the classifier needs labelled images; {data.name} has none; use efficientnet or inception"
            )
        if min(shape[1:]) < SMALLEST:
            raise UserError(f"the classifier needs at least {SMALLEST}x{SMALLEST} pixels; got shape {shape}")
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # seed only the CPU generator
            network = Network(shape[0], len(data.labels))
        # Folders may share a name. A hash of the first examples distinguishes them and detects changes.
        first = hashlib.sha256(data.batch(0, BATCH)["real"].numpy().tobytes()).hexdigest()
        identity = {"data": data.name, "first": first, "shape": shape, "steps": STEPS, "format": FORMAT}
        folder = _kept() / hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
        if (found := checkpoint.load(folder)) is None:
            must_be_writable(folder)
            state = _train(network, data, device)
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
        """Return a description of the classifier.

        It contains the dataset, the training settings, the accuracy on held-out data and the SHA-256 of the
        weights.
        """
        return self.described

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Seen:
        """Extract features and predict the class of each image."""
        (device,) = {parameter.device for parameter in self.network.parameters()}
        features, scores = self.network(normalise(images.to(device)))
        return Seen(features.cpu(), scores.argmax(1).cpu())


class Inception:
    """Inception network of the published FID scores.

    torch-fidelity downloads the weights at first use, into the folder of torch.hub.
    """

    classes = 0

    def __init__(self, device: torch.device) -> None:
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise UserError(
                "the features inception need the package torch-fidelity; pip install 'gan-zoo[inception]' "
                "installs it"
            ) from error
        if not (Path(torch.hub.get_dir()) / "checkpoints").is_dir():
            torch.hub.set_dir(writable_or_temporary(torch.hub.get_dir()))
        self.device = device
        self.network: Any = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).to(device).eval()

    def describe(self) -> dict[str, str | float]:
        """Return the name, the feature size and the weights' SHA-256."""
        return {"name": "inception", "size": 2048, "sha256": _digest(self.network)}

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Seen:
        """Extract features. Grey images are repeated over three channels. The network resizes its input."""
        (features,) = self.network(images.expand(-1, 3, -1, -1).to(self.device))
        return Seen(features.float().cpu(), None)


def _train(network: Network, data: Dataset, device: torch.device) -> checkpoint.State:
    """Train a network to classify the dataset, and return its weights and accuracy."""
    network.to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=STEPS)
    with progress(STEPS, f"training the classifier of {data.name}", "steps") as advance:
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
    """Return the accuracy on the held-out data.

    If there are no held-out data, the training data are used.
    """
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
    """Return the folder of the cached classifiers: in GANZOO_CACHE, or in gan-zoo in the user's cache."""
    if chosen := os.environ.get("GANZOO_CACHE"):
        return Path(chosen) / "classifiers"
    default = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return writable_or_temporary(f"{default}/gan-zoo") / "classifiers"
