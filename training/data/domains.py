"""Datasets of two image domains: a folder for each domain, or files with a pair side by side."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from serving.errors import UserError
from training.data.dataset import Dataset, ShuffledDataset
from training.data.image_folder import find_folder, read_dataset
from training.data.image_source import Folder, ImageSource
from training.data.splits import Part, split
from training.data.transforms import image_shape
from zoo.entry import Batch, DataKind


class Domains(Dataset):
    """Unpaired images of two domains. A batch has `size` images of each domain.

    The domains are shuffled independently and may differ in size. The smaller domain starts its next epoch
    earlier.
    """

    kind: DataKind = "domains"

    def __init__(
        self,
        a: ShuffledDataset,
        b: ShuffledDataset,
        name: str,
        held_out: Callable[[], Dataset | None] | None = None,
    ) -> None:
        self.a, self.b, self.name, self._open_held_out = a, b, name, held_out

    @property
    def size(self) -> float:
        """Number of images of the smaller domain."""
        return min(self.a.size, self.b.size)

    @property
    def nbytes(self) -> float:
        """Size of both domains in bytes."""
        return self.a.nbytes + self.b.nbytes

    def batch(self, step: int, size: int) -> Batch:
        """Return `size` images of each domain: `a` and `b`, (N, C, H, W) each."""
        return {"a": self.a.batch(step, size)["real"], "b": self.b.batch(step, size)["real"]}

    def to(self, device: torch.device) -> "Domains":
        """Move the images to a device."""
        self.a.to(device)
        self.b.to(device)
        return self


class Pairs(Dataset):
    """Paired images. The images at the same index of `a` and `b` form a pair."""

    kind: DataKind = "pairs"

    def __init__(
        self, both: ShuffledDataset, name: str, held_out: Callable[[], Dataset | None] | None = None
    ) -> None:
        self.both, self.name, self._open_held_out = both, name, held_out

    @property
    def size(self) -> float:
        """Number of pairs."""
        return self.both.size

    @property
    def nbytes(self) -> float:
        """Size of the pairs in bytes."""
        return self.both.nbytes

    def batch(self, step: int, size: int) -> Batch:
        """Return `size` pairs: `a` and `b`, (N, C, H, W) each."""
        a, b = self.both.batch(step, size)["real"].chunk(2, 1)
        return {"a": a, "b": b}

    def to(self, device: torch.device) -> "Pairs":
        """Move the images to a device."""
        self.both.to(device)
        return self


class ByDomain(Dataset):
    """Labelled examples from a dataset of two domains. The domain is the class."""

    labels = ("a", "b")

    def __init__(self, data: Dataset) -> None:
        self.data, self.name, self.licence = data, f"{data.name} by domain", data.licence
        self.features = data.features

    @property
    def size(self) -> float:
        """Number of images of both domains."""
        return 2 * self.data.size

    @property
    def nbytes(self) -> float:
        """Size of both domains in bytes."""
        return self.data.nbytes

    def held_out(self) -> "ByDomain | None":
        """Return the held-out images, labelled by domain, or None if there are none."""
        held_out = self.data.held_out()
        return None if held_out is None else ByDomain(held_out)

    def batch(self, step: int, size: int) -> Batch:
        """Return images that alternate between the domains.

        `real` is (N, C, H, W). `label` is (N,), with 0 for a and 1 for b.
        """
        half = self.data.batch(step, math.ceil(size / 2))
        real = torch.stack([half["a"], half["b"]], 1).flatten(0, 1)[:size]
        return {"real": real, "label": torch.arange(len(real), device=real.device) % 2}

    def to(self, device: torch.device) -> "ByDomain":
        """Move the images to a device."""
        self.data.to(device)
        return self


def unpaired(path: str, sample_shape: tuple[int, ...], seed: int) -> Domains:
    """Read the folders `trainA` and `trainB`. If `testA` and `testB` exist, they are the held-out data.

    Raises:
        UserError: a folder is missing or empty, or an image can't be read. The message names it.
    """
    shape = image_shape(sample_shape)
    root = find_folder("unpaired", path)

    train, test = domain_folders(root)
    name = f"unpaired:{root.resolve().name}"
    held_out = partial(_read_domains, test, shape, f"{name}/test", seed) if test else None
    return _read_domains(train, shape, name, seed, held_out)


def _read_domains(
    folders: list[Path],
    shape: tuple[int, int, int],
    name: str,
    seed: int,
    held_out: Callable[[], Dataset | None] | None = None,
) -> Domains:
    # Use a different seed for each domain. Otherwise, domains of equal size would have the same order.
    a, b = (
        read_dataset(Folder(folder), shape, f"{name}/{folder.name}", 2 * seed + number)
        for number, folder in enumerate(folders)
    )
    return Domains(a, b, name, held_out)


def domain_folders(root: Path) -> tuple[list[Path], list[Path]]:
    """Return the training folders of both domains, and the held-out folders if both exist.

    Raises:
        UserError: a training folder is missing.
    """
    train, test = ([root / f"{part}{domain}" for domain in "AB"] for part in ("train", "test"))
    if missing := [folder.name for folder in train if not folder.is_dir()]:
        raise UserError(f"unpaired needs the folders trainA and trainB in {root}; {missing[0]} is missing")
    return train, test if all(folder.is_dir() for folder in test) else []


def paired(path: str, sample_shape: tuple[int, ...], seed: int) -> Pairs:
    """Read image files that contain a pair side by side, with a on the left and b on the right.

    If the folder has the subfolders `train` and `test` (or `val` and the like), `train` is the training set
    and the other is the held-out data.

    Raises:
        UserError: there are no images, or a file can't be read or halved. The message names the file.
    """
    shape = image_shape(sample_shape)
    root = find_folder("paired", path)
    name = f"paired:{root.resolve().name}"

    source = Folder(root)
    train, held_out = split(source.images)
    both = read_dataset(source, shape, name, seed, part=train, abreast=2)
    return Pairs(both, name, held_out and partial(_read_pairs, source, held_out, shape, name, seed))


def _read_pairs(source: ImageSource, part: Part, shape: tuple[int, int, int], name: str, seed: int) -> Pairs:
    name = f"{name}/{part.name}"
    return Pairs(read_dataset(source, shape, name, seed, part=part, abreast=2), name)
