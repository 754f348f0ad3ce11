"""Datasets of two image domains, unpaired or in pairs."""

import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import torch

from serving.errors import UserError
from training.data.dataset import OF_FILES, Dataset, ShuffledDataset
from training.data.files.image_folder import find_place, read_dataset, read_images
from training.data.files.image_source import ImageSource, open_source
from training.data.files.pairs import PairFiles, are_namesakes, doubts, pairs_of
from training.data.files.splits import Part, folders_of, split, split_domains
from training.data.transforms import AS_USUAL, Conversion, image_shape
from zoo.entry import Batch, DataKind, DomainShapes, SampleShape


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
        aligned: "Callable[[], Pairs] | None" = None,
    ) -> None:
        self.a, self.b, self.name, self._open_held_out = a, b, name, held_out
        self._open_aligned = aligned

    def aligned(self) -> "Pairs | None":
        """Return the images in pairs of equal names, or None unless every image has a namesake."""
        return self._open_aligned and self._open_aligned()

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
    """Paired images. The images at the same index of `a` and `b` form a pair.

    Args:
        both: the images of each pair, concatenated along the channels.
        shapes: shapes of the images of both domains.
        name: name of the dataset.
        held_out: function that opens the held-out data.
    """

    kind: DataKind = "pairs"

    def __init__(
        self,
        both: ShuffledDataset,
        shapes: DomainShapes,
        name: str,
        held_out: Callable[[], Dataset | None] | None = None,
    ) -> None:
        self.both, self.name, self._open_held_out = both, name, held_out
        self._channels = [shape[0] for shape in shapes]

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
        a, b = torch.split(self.both.batch(step, size)["real"], self._channels, 1)
        return {"a": a, "b": b}

    def to(self, device: torch.device) -> "Pairs":
        """Move the images to a device."""
        self.both.to(device)
        return self


Both = TypeVar("Both", Domains, Pairs)


class ByDomain(Dataset):
    """Labelled examples from a dataset of two domains. The domain is the class.

    Where one domain is grey and the other one is not, grey is repeated over the channels.
    """

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
        a, b = half["a"], half["b"]
        channels = max(a.shape[1], b.shape[1])
        both = [images.expand(-1, channels, -1, -1) for images in (a, b)]
        real = torch.stack(both, 1).flatten(0, 1)[:size]
        return {"real": real, "label": torch.arange(len(real), device=real.device) % 2}

    def to(self, device: torch.device) -> "ByDomain":
        """Move the images to a device."""
        self.data.to(device)
        return self


class Parts(NamedTuple):
    """Parts of data of image files."""

    train: list[Part]
    """The part to train on, or one for each domain."""

    held_out: list[Part]
    """Those that are held out; empty if there are none."""

    name: str
    """Name of what is held out, such as `test`."""

    abreast: int
    """Number of images side by side in a file."""


def parts_of(kind: DataKind, source: ImageSource) -> Parts:
    """Return the parts of a source of examples, domains or pairs, by the folders of the images.

    Pairs are in a folder for each domain, as domains are, or else side by side in each file.

    Raises:
        UserError: the images of a domain are missing.
    """
    if kind != "examples":
        train, held_out = split_domains(source.images)
        if train is not None:
            held = [held_out.a, held_out.b] if held_out else []
            return Parts([train.a, train.b], held, held_out.name if held_out else "", 1)
    if kind == "domains":
        raise UserError(
            "unpaired needs images of both domains, in folders such as trainA and trainB, A and B, or "
            f"A/train and B/train, in {source.place}; got "
            f"{', '.join(folders_of(source.images)[:10]) or 'no folder'}"
        )
    part, other = split(source.images)
    return Parts([part], [other] if other else [], other.name if other else "", 2 if kind == "pairs" else 1)


def _read_parts(spec: str, path: str, read: Callable[..., Both]) -> Both:
    """Read the parts to train on, and let those that are held out be read by the same function."""
    place = find_place(spec, path)
    source, name = open_source(place), f"{spec}:{place.resolve().name}"
    parts = parts_of(OF_FILES[spec], source)
    held_out = partial(read, source, parts.held_out, f"{name}/{parts.name}") if parts.held_out else None
    return read(source, parts.train, name, held_out)


def unpaired(path: str, sample_shape: SampleShape, seed: int, conversion: Conversion = AS_USUAL) -> Domains:
    """Read the images of two domains, each in a folder, such as `trainA` and `trainB`, or `A` and `B`.

    If there are held-out folders too, such as `testA` and `testB`, they are the held-out data.

    Raises:
        UserError: a domain is missing, or an image can't be read. The message names it.
        OSError: the data can't be read.
    """
    shapes = DomainShapes.of(sample_shape)
    return _read_parts(
        "unpaired", path, partial(_read_domains, shapes=shapes, seed=seed, conversion=conversion)
    )


def _read_domains(
    source: ImageSource,
    parts: Sequence[Part],
    name: str,
    held_out: Callable[[], Dataset | None] | None = None,
    *,
    shapes: DomainShapes,
    seed: int,
    conversion: Conversion,
) -> Domains:
    # Use a different seed for each domain. Otherwise, domains of equal size would have the same order.
    a, b = (
        read_dataset(
            source,
            image_shape(shape),
            f"{name}/{part.name}",
            2 * seed + number,
            part=part,
            conversion=conversion,
        )
        for number, (part, shape) in enumerate(zip(parts, shapes, strict=True))
    )
    pairs = partial(_read_pairs, source, parts, name, shapes=shapes, seed=seed, conversion=conversion)
    return Domains(a, b, name, held_out, pairs if are_namesakes(*parts) else None)


def paired(path: str, sample_shape: SampleShape, seed: int, conversion: Conversion = AS_USUAL) -> Pairs:
    """Read pairs of images: of equal names in two folders, as for `unpaired`, or side by side in one file.

    In one file, a is on the left and b on the right. Folders such as `train` and `test` are the training set
    and the held-out data.

    Raises:
        UserError: there are no pairs, or a file can't be read or halved. The message names the file.
        OSError: the data can't be read.
    """
    shapes = DomainShapes.of(sample_shape)
    return _read_parts("paired", path, partial(_read_pairs, shapes=shapes, seed=seed, conversion=conversion))


def _read_pairs(
    source: ImageSource,
    parts: Sequence[Part],
    name: str,
    held_out: Callable[[], Dataset | None] | None = None,
    *,
    shapes: DomainShapes,
    seed: int,
    conversion: Conversion,
) -> Pairs:
    found = pairs_of(source, parts)
    for doubt in doubts(source, found):
        message = f"{name}: {doubt}"
        print(f"warning: {message}", file=sys.stderr)
    both = ShuffledDataset(read_images(PairFiles(source, found, shapes, conversion)), name=name, seed=seed)
    return Pairs(both, shapes, name, held_out)
