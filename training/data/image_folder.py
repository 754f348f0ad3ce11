"""Datasets of image folders. The images may have any size and mode."""

import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from serving.arrays import Pixels
from serving.errors import UserError
from serving.imaging.files import image_files, read_image
from serving.system.cpu import cores
from serving.system.progress import progress
from training.data.dataset import Dataset, Examples, ShuffledDataset
from training.data.loader import available_memory, local_world_size, map_in_order
from training.data.transforms import fit, image_shape

CPU = torch.device("cpu")


HELD_OUT = {"folder": ("test",), "paired": ("test", "val")}
"""Names of the held-out subfolder next to `train`. The first that exists is used."""


def folder(path: str, sample_shape: tuple[int, ...], seed: int) -> ShuffledDataset:
    """Read every image below a folder. Each image is cropped and resized to the shape.

    If the folder has the subfolders `train` and `test`, `train` is the training set and `test` is the
    held-out data.

    Raises:
        UserError: there are no images, or a file can't be read. The message names the file.
    """
    shape = image_shape(sample_shape)
    root = find_folder("folder", path)
    name = f"folder:{root.resolve().name}"
    (train,), held_out = split("folder", root)
    tests = [partial(read_dataset, test, shape, f"{name}/{test.name}", seed) for test in held_out]
    return read_dataset(train, shape, name, seed, held_out=tests[0] if tests else None)


def read_dataset(
    root: Path,
    shape: tuple[int, int, int],
    name: str,
    seed: int,
    abreast: int = 1,
    held_out: Callable[[], Dataset] | None = None,
) -> ShuffledDataset:
    """Return a dataset of every image below a folder. See `read_images` for the arguments and errors."""
    return ShuffledDataset(read_images(root, shape, abreast), name=name, seed=seed, held_out=held_out)


def find_folder(source: str, path: str) -> Path:
    """Return the folder named by the argument of a spec.

    Raises:
        UserError: the argument is empty, or the folder does not exist.
    """
    root = Path(path).expanduser()
    if not path or not root.is_dir():
        raise UserError(f"{source} needs an existing folder, {source}:PATH; got {path or 'no path'}")
    return root


def split(source: str, root: Path) -> tuple[list[Path], list[Path]]:
    """Return the training folder and the held-out folder, each in a list. The second list may be empty."""
    held_out = [root / part for part in HELD_OUT[source] if (root / part).is_dir()]
    if held_out and (root / "train").is_dir():
        return [root / "train"], held_out[:1]
    return [root], []


def read_abreast(file: Path, channels: int, abreast: int) -> Pixels:
    """Read a file of images of equal width, side by side: pixels (abreast, H, W, channels).

    Raises:
        UserError: the file can't be decoded, or its width can't be divided. The message names the file.
        OSError: the file can't be read.
    """
    pixels = read_image(file, channels)
    if pixels.shape[1] % abreast:
        raise UserError(f"{file}: the width must be a multiple of {abreast}; got {pixels.shape[1]} pixels")
    return np.stack(np.split(pixels, abreast, 1))


def read_images(root: Path, shape: tuple[int, int, int], abreast: int = 1) -> Examples:
    """Read every image below a folder, cropped and resized: uint8 (N, abreast * C, H, W).

    If the images do not fit in memory, each file is read on request instead.

    Args:
        root: the folder.
        shape: shape of an image, (C, H, W).
        abreast: number of images of equal width, side by side, in a file.

    Raises:
        UserError: there are no images, or a file can't be read. The message names the file.
    """
    files = ImageFiles(image_files(root), shape, abreast)
    whole = (len(files), abreast * shape[0], *shape[1:])
    if math.prod(whole) >= available_memory(CPU):
        wanted = math.prod(whole) / 2**30
        message = f"{root}: {wanted:.1f} GiB of images exceed the memory for data; they are read on request"
        print(message, file=sys.stderr)
        return files
    images = torch.empty(whole, dtype=torch.uint8)
    with progress(len(files), f"reading {root}", "images") as advance:
        for place, image in enumerate(
            map_in_order(files.read, range(len(files)), cores() // local_world_size())
        ):
            images[place] = image
            advance()
    return images


class ImageFiles:
    """Image files, read on request."""

    nbytes = math.inf
    device = CPU

    def __init__(self, files: list[Path], shape: tuple[int, int, int], abreast: int) -> None:
        self.files, self.shape, self.abreast = files, shape, abreast

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, places: Tensor) -> Tensor:
        """Read images: uint8 (n, abreast * C, H, W).

        Raises:
            UserError: a file can't be read. The message names the file.
        """
        return torch.stack([self.read(int(place)) for place in places])

    def read(self, place: int) -> Tensor:
        """Read one file: uint8 (abreast * C, H, W)."""
        pixels = torch.tensor(read_abreast(self.files[place], self.shape[0], self.abreast))
        return fit(pixels.permute(0, 3, 1, 2), self.shape).flatten(0, 1)

    def to(self, device: torch.device) -> "ImageFiles":
        """Return the object unchanged. The files are always read to the CPU."""
        return self
