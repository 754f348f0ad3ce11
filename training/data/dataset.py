"""Datasets, opened by spec. Batches are float32; images are NCHW in [-1, 1].

A batch is a function of the seed, the step and the batch size. A resumed run therefore sees the same batches
as an uninterrupted run. The loader has no state to save, and every batch has the full size.
"""

import copy
import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from serving.arrays import Array
from serving.errors import UserError
from training.data.transforms import AS_USUAL, Conversion, normalise
from zoo.entry import Batch, DataKind, SampleShape

SOURCES: dict[str, str] = {
    "glyphs": "training.data.glyphs:glyphs",
    "mnist": "training.data.torchvision_sets:mnist",
    "fashion-mnist": "training.data.torchvision_sets:fashion_mnist",
    "cifar10": "training.data.torchvision_sets:cifar10",
    "folder": "training.data.files.image_folder:folder",
    "unpaired": "training.data.files.domains:unpaired",
    "paired": "training.data.files.domains:paired",
    "glyphs-style": "training.data.styled_glyphs:glyphs_style",
    "glyphs-pairs": "training.data.styled_glyphs:glyphs_pairs",
    "gaussian2d": "training.data.mixtures:gaussian2d",
    "ring8": "training.data.mixtures:ring8",
    "grid25": "training.data.mixtures:grid25",
    "mixture16": "training.data.mixtures:mixture16",
}
"""Dataset functions by name, as `MODULE:FUNCTION`. Each takes (argument, sample shape, seed)."""

OF_FILES: dict[str, DataKind] = {"folder": "examples", "unpaired": "domains", "paired": "pairs"}
"""Datasets of image files by name, with their kind. Their functions take a `Conversion` too."""

READ = 250


class Loader(Protocol):
    """Source of batches for the training loop."""

    def batch(self, step: int, size: int) -> Batch:
        """Return the batch of a step. Steps are counted from 0."""
        ...


class Truth(Protocol):
    """Known distribution of vectors."""

    headline: str
    """Name of the main score. Lower is better."""

    def score(self, points: Array) -> dict[str, float]:
        """Score float32 points (N, D) against the distribution."""
        ...


class Dataset(ABC):
    """Base class of the datasets.

    The defaults describe unlabelled examples that are generated on request, without end. Batches are on the
    CPU, or on the device that holds the dataset.
    """

    name: str
    """Name of the dataset in an artifact's manifest: the spec without local paths."""

    kind: DataKind = "examples"
    """Kind of batch. Examples have the key `real`; domains and pairs have the keys `a` and `b`."""

    labels: tuple[str, ...] = ()
    """Class names, indexed by `label` from 0. Empty for an unlabelled dataset."""

    licence: str = "unknown"
    """Licence of the data. It is copied into the artifact's manifest."""

    truth: Truth | None = None
    """Distribution of the examples, or None if it is unknown."""

    features: Literal["efficientnet", "classifier"] = "efficientnet"
    """Features that scores of its images use by default: those of natural images, or those of a classifier of
    this dataset, which suit drawn characters and other simple images better."""

    _open_held_out: "Callable[[], Dataset | None] | None" = None

    @abstractmethod
    def batch(self, step: int, size: int) -> Batch:
        """Return the batch of a step.

        The batch depends only on the seed, the step (counted from 0) and the batch size.
        """

    @property
    def size(self) -> float:
        """Number of examples, per domain. Infinite if the examples are generated without end."""
        return math.inf

    @property
    def nbytes(self) -> float:
        """Size of the examples in bytes. Infinite if they are not held in memory."""
        return math.inf

    def held_out(self) -> "Dataset | None":
        """Return the held-out data, of the same kind, or None if there are none."""
        return None if self._open_held_out is None else self._open_held_out()

    def to(self, device: torch.device) -> "Dataset":
        """Move examples held in memory to a device. Generated examples stay on the CPU."""
        return self

    def balanced(self) -> "Dataset":
        """Return the dataset with batches that have all classes equally often.

        Raises:
            UserError: the data have no classes.
        """
        if not self.labels:
            raise UserError(f"--balance-classes needs data with classes; {self.name} has none")
        return self


def open_data(spec: str, sample_shape: SampleShape, seed: int, conversion: Conversion = AS_USUAL) -> Dataset:
    """Open a dataset by `NAME` or `NAME:ARGUMENT`, with the sample shape of an entry.

    The conversion applies to datasets of image files.

    Raises:
        UserError: the name is unknown, or the argument or the shape is invalid for the dataset.
        OSError: the data can't be read.
    """
    name, _, argument = spec.partition(":")
    if name not in SOURCES:
        raise UserError(f"the data {name!r} are unknown; use one of {', '.join(SOURCES)}")
    module, _, function = SOURCES[name].partition(":")
    more = (conversion,) if name in OF_FILES else ()
    data: Dataset = getattr(importlib.import_module(module), function)(argument, sample_shape, seed, *more)
    return data


def read(data: Dataset, n: int, size: int = READ) -> Iterator[Batch]:
    """Yield the first n examples of the first epoch, in batches of at most `size`."""
    for step in range(math.ceil(n / size)):
        left = n - step * size
        yield {name: value[:left] for name, value in data.batch(step, size).items()}


class Examples(Protocol):
    """Examples by index: a tensor, or an object that reads them on request."""

    @property
    def nbytes(self) -> float:
        """Size of all examples in bytes. Infinite if they are not held in memory."""
        ...

    @property
    def device(self) -> torch.device:
        """Device of the examples."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, places: Tensor) -> Tensor:
        """Return the examples at the given indices: uint8 (n, C, H, W), or float32 (n, D)."""
        ...

    def to(self, device: torch.device) -> "Examples":
        """Move the examples to a device."""
        ...


class ShuffledDataset(Dataset):
    """Finite dataset of uint8 NCHW images or float32 vectors. Images are normalised in `batch`.

    Every epoch shuffles the whole dataset again. A batch may span two or more epochs, so a dataset smaller
    than a batch repeats within the batch.
    """

    def __init__(
        self,
        real: Examples,
        label: Tensor | None = None,
        *,
        name: str,
        seed: int,
        labels: tuple[str, ...] = (),
        licence: str = "unknown",
        truth: Truth | None = None,
        held_out: Callable[[], Dataset | None] | None = None,
    ) -> None:
        if len(real) == 0:
            raise UserError(f"{name} must contain at least one example; got none")
        self.real, self.label, self.name = real, label, name
        self.seed, self.labels, self.licence = seed, labels, licence
        self.truth, self._open_held_out = truth, held_out
        self._shuffle = lru_cache(maxsize=2)(self._order)

    def __len__(self) -> int:
        return len(self.real)

    @property
    def size(self) -> float:
        """Number of examples."""
        return len(self)

    @property
    def nbytes(self) -> float:
        """Size of the examples in bytes."""
        return self.real.nbytes

    def batch(self, step: int, size: int) -> Batch:
        """Return the batch of a step: `real`, and `label` if the dataset is labelled."""
        places = range(step * size, (step + 1) * size)
        parts = []
        for number in range(places.start // len(self), (places.stop - 1) // len(self) + 1):
            start = number * len(self)
            parts.append(self._shuffle(number)[max(0, places.start - start) : places.stop - start])
        chosen = torch.cat(parts)
        batch = {"real": normalise(self.real[chosen])}
        if self.label is not None:
            batch["label"] = self.label[chosen]
        return batch

    def _order(self, number: int) -> Tensor:
        # Keep the order on the device of the examples. This avoids a copy, and a wait, at every batch.
        order = _shuffled(len(self), generator(self.seed, number))
        return order.to(self.real.device)

    def _even_order(self, number: int) -> Tensor:
        """Return an epoch's order in which every row of as many places as there are classes has each once.

        The examples of a class are shuffled, and those of a small class are repeated.
        """
        assert self.label is not None
        random, label = generator(self.seed, number), self.label.cpu()
        groups = [group for each in range(len(self.labels)) if len(group := (label == each).nonzero()[:, 0])]
        rows = math.ceil(len(self) / len(groups))
        columns = [
            torch.cat([group[_shuffled(len(group), random)] for _ in range(0, rows, len(group))])
            for group in groups
        ]
        table = torch.stack([column[:rows] for column in columns], 1)
        places = torch.rand(table.shape, generator=random).argsort(1)
        return table.gather(1, places).flatten()[: len(self)].to(self.real.device)

    def balanced(self) -> "ShuffledDataset":
        """Return the dataset with batches that have all classes equally often."""
        super().balanced()
        even = copy.copy(self)
        even._shuffle = lru_cache(maxsize=2)(even._even_order)
        return even

    def to(self, device: torch.device) -> "ShuffledDataset":
        """Move the examples and the labels to a device."""
        self._shuffle.cache_clear()
        self.real = self.real.to(device)
        self.label = None if self.label is None else self.label.to(device)
        return self


def _shuffled(count: int, random: torch.Generator) -> Tensor:
    return torch.randperm(count, generator=random)


def generator(*key: int) -> torch.Generator:
    """Return a CPU random generator seeded by integers. Different integers select different streams."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]) >> 1)
