"""Datasets of image files, in folders or archives. The images may have any size and mode."""

import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from serving.arrays import Pixels
from serving.errors import UserError
from serving.imaging.files import decode_file
from serving.system.cpu import cores
from serving.system.progress import progress
from training.data.dataset import Dataset, Examples, ShuffledDataset
from training.data.files.classes import Classes, classes_of
from training.data.files.image_source import ImageSource, open_source
from training.data.files.splits import Part, split
from training.data.loader import available_memory, local_world_size, map_in_order
from training.data.transforms import AS_USUAL, Conversion, fit, image_shape

CPU = torch.device("cpu")


def folder(
    path: str, sample_shape: tuple[int, ...], seed: int, conversion: Conversion = AS_USUAL
) -> ShuffledDataset:
    """Read every image of a folder, a zip file or tar files. Each image is fitted to the shape.

    The classes are those of a list beside the images, or the subfolders that they are in. If there is a
    folder for training and one that is held out, such as `train` and `test`, the latter is the held-out data.

    Raises:
        UserError: there are no images, the classes are damaged, or a file can't be read. The message names
            the file.
        OSError: the data can't be read.
    """
    shape = image_shape(sample_shape)
    place = find_place("folder", path)
    source, name = open_source(place), f"folder:{place.resolve().name}"
    train, held_out = split(source.images)
    classes = classes_of(source, train)

    def open_held_out(part: Part) -> ShuffledDataset:
        known = None if classes is None else classes_of(source, part, classes.names)
        return read_dataset(
            source, shape, f"{name}/{part.name}", seed, part=part, classes=known, conversion=conversion
        )

    return read_dataset(
        source,
        shape,
        name,
        seed,
        part=train,
        classes=classes,
        conversion=conversion,
        held_out=partial(open_held_out, held_out) if held_out else None,
    )


def read_dataset(
    source: ImageSource,
    shape: tuple[int, int, int],
    name: str,
    seed: int,
    *,
    part: Part | None = None,
    classes: Classes | None = None,
    conversion: Conversion = AS_USUAL,
    held_out: Callable[[], Dataset] | None = None,
) -> ShuffledDataset:
    """Return a dataset of the images of a source.

    Args:
        source: the source.
        shape: shape of an image, (C, H, W).
        name: name of the dataset.
        seed: seed of the order.
        part: the part of the source; by default all of it.
        classes: classes of the images; by default they have none.
        conversion: how the images become examples.
        held_out: function that opens the held-out data.

    Raises:
        UserError: a file can't be read. The message names the file.
    """
    images = source.images if part is None else part.images
    return ShuffledDataset(
        read_images(ImageFiles(source, images, shape, conversion)),
        None if classes is None else torch.tensor([classes.of[image] for image in images]),
        name=name,
        seed=seed,
        labels=() if classes is None else classes.names,
        held_out=held_out,
    )


def find_place(source: str, path: str) -> Path:
    """Return the folder or the archive named by the argument of a spec.

    Raises:
        UserError: the argument is empty, or there is no such folder or file.
    """
    place = Path(path).expanduser()
    if not path or not (place.is_dir() or place.is_file()):
        raise UserError(
            f"{source} needs an existing folder, zip or tar file, {source}:PATH; got {path or 'no path'}"
        )
    return place


def read_images(files: "ImageFiles") -> Examples:
    """Read image files, fitted to a shape: uint8 (N, C, H, W).

    If the images do not fit in memory, each file is read on request instead.

    Raises:
        UserError: a file can't be read. The message names the file.
    """
    place, whole = files.source.place, (len(files), *files.shape)
    if math.prod(whole) >= available_memory(CPU):
        wanted = math.prod(whole) / 2**30
        message = f"{place}: {wanted:.1f} GiB of images exceed the memory for data; they are read on request"
        print(message, file=sys.stderr)
        return files
    images = torch.empty(whole, dtype=torch.uint8)
    with progress(len(files), f"reading {place}", "images") as advance:
        for index, image in enumerate(
            map_in_order(files.read, range(len(files)), cores() // local_world_size())
        ):
            images[index] = image
            advance()
    return images


class ImageFiles:
    """Image files, read on request."""

    nbytes = math.inf
    device = CPU

    def __init__(
        self,
        source: ImageSource,
        images: Sequence[str],
        shape: tuple[int, int, int],
        conversion: Conversion = AS_USUAL,
    ) -> None:
        self.source, self.images, self.shape, self.conversion = source, images, shape, conversion

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, places: Tensor) -> Tensor:
        """Read images: uint8 (n, C, H, W).

        Raises:
            UserError: a file can't be read. The message names the file.
        """
        return torch.stack([self.read(int(place)) for place in places])

    def read(self, place: int) -> Tensor:
        """Read one file: uint8 (C, H, W)."""
        return self.fitted(self.decode(self.images[place], self.shape[0]), self.shape)

    def decode(self, name: str, channels: int) -> Pixels:
        """Decode an image: uint8 (H, W, channels)."""
        data, path = self.source.read(name), self.source.path(name)
        return decode_file(data, channels, path, self.conversion.value_range)

    def fitted(self, pixels: Pixels, shape: tuple[int, int, int]) -> Tensor:
        """Fit pixels (H, W, C) to a shape (C, H, W)."""
        return fit(torch.tensor(pixels).permute(2, 0, 1)[None], shape, self.conversion.fit)[0]

    def to(self, device: torch.device) -> "ImageFiles":
        """Return the object unchanged. The files are always read to the CPU."""
        return self
