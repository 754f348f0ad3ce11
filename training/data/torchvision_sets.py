"""Labelled image datasets of torchvision, downloaded if missing. No other module imports torchvision."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torchvision import datasets

from training.data.dataset import ShuffledDataset
from training.data.transforms import fit, image_shape

DEFAULT_ROOT = "data"


def mnist(root: str, sample_shape: tuple[int, ...], seed: int) -> ShuffledDataset:
    """Open MNIST's training set: 60,000 handwritten digits, greyscale, 28x28 (LeCun et al. 1998)."""
    return _open(datasets.MNIST, "mnist", root, sample_shape, seed, "CC-BY-SA-3.0")


def fashion_mnist(root: str, sample_shape: tuple[int, ...], seed: int) -> ShuffledDataset:
    """Open Fashion-MNIST's training set: 60,000 articles of clothing, greyscale, 28x28 (Xiao et al. 2017)."""
    return _open(datasets.FashionMNIST, "fashion-mnist", root, sample_shape, seed, "MIT")


def cifar10(root: str, sample_shape: tuple[int, ...], seed: int) -> ShuffledDataset:
    """Open CIFAR-10's training set: 50,000 photographs, RGB, 32x32 (Krizhevsky 2009)."""
    return _open(datasets.CIFAR10, "cifar10", root, sample_shape, seed, "unknown")


def _open(
    kind: Any,
    name: str,
    root: str,
    sample_shape: tuple[int, ...],
    seed: int,
    licence: str,
    train: bool = True,
) -> ShuffledDataset:
    shape = image_shape(sample_shape)
    place = Path(root or DEFAULT_ROOT).expanduser()
    try:
        source = kind(place, train=train, download=True)
    except (OSError, RuntimeError) as error:
        raise OSError(f"{name} is not in {place} and can't be downloaded: {error}") from error
    pixels = torch.as_tensor(source.data)
    images = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    data = ShuffledDataset(
        fit(images, shape),
        torch.as_tensor(source.targets),
        name=name,
        seed=seed,
        labels=tuple(source.classes),
        licence=licence,
        held_out=partial(_open, kind, name, root, sample_shape, seed, licence, train=False),
    )
    # The classes of small grey images are learnt in seconds, and say more than features of photographs.
    data.features = "classifier" if pixels.ndim == 3 else "efficientnet"
    return data
