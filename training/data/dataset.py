"""Data by spec, one door: batches of float32, images NCHW in [-1, 1], the same for a seed and a step.

A batch is a function of the seed and the step alone, so a resumed run sees what it would have seen, and
there is no reader to save and no last, smaller batch.
"""

import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from serving.arrays import Array
from serving.errors import UserError
from training.data.transforms import normalise
from zoo.entry import Batch, DataKind

SOURCES: dict[str, str] = {
    "glyphs": "training.data.glyphs:glyphs",
    "mnist": "training.data.torchvision_sets:mnist",
    "fashion-mnist": "training.data.torchvision_sets:fashion_mnist",
    "cifar10": "training.data.torchvision_sets:cifar10",
    "folder": "training.data.image_folder:folder",
    "unpaired": "training.data.domains:unpaired",
    "paired": "training.data.domains:paired",
    "glyphs-style": "training.data.styled_glyphs:glyphs_style",
    "glyphs-pairs": "training.data.styled_glyphs:glyphs_pairs",
    "gaussian2d": "training.data.mixtures:gaussian2d",
    "ring8": "training.data.mixtures:ring8",
    "grid25": "training.data.mixtures:grid25",
    "mixture16": "training.data.mixtures:mixture16",
}
"""Where each spec's data come from: functions of (argument, sample shape, seed)."""

READ = 250


class Loader(Protocol):
    """What hands out batches."""

    def batch(self, step: int, size: int) -> Batch:
        """Return the batch of a step, counted from 0."""
        ...


class Truth(Protocol):
    """A known distribution of vectors."""

    headline: str
    """The one of its scores that is lower the better."""

    def score(self, points: Array) -> dict[str, float]:
        """Score float32 points (N, D) against it."""
        ...


class Dataset(ABC):
    """What a run learns from. The defaults suit endless, unlabelled examples, made as asked for.

    Batches are on the CPU, or on the device that the data are held on.
    """

    name: str
    """What an artifact says it was trained on: the spec without a path of this machine."""

    kind: DataKind = "examples"
    """What a batch holds: `real` for examples, `a` and `b` for domains and for pairs."""

    labels: tuple[str, ...] = ()
    """Names of the classes that `label` counts from 0; empty where there are none."""

    licence: str = "unknown"
    """Terms of the data, carried into the artifact's manifest."""

    truth: Truth | None = None
    """The distribution that they are drawn from, where it is known."""

    _open_held_out: "Callable[[], Dataset | None] | None" = None

    @abstractmethod
    def batch(self, step: int, size: int) -> Batch:
        """Return the batch of a step, counted from 0: a function of the seed, the step and the size alone."""

    @property
    def size(self) -> float:
        """Number of examples, in either domain; infinite where they are drawn without end."""
        return math.inf

    @property
    def nbytes(self) -> float:
        """Bytes of the examples; infinite where memory does not hold them."""
        return math.inf

    def held_out(self) -> "Dataset | None":
        """Open examples of the same kind that no run learns from; None where there are none."""
        return None if self._open_held_out is None else self._open_held_out()

    def to(self, device: torch.device) -> "Dataset":
        """Move what is held in memory to a device; what is made as asked for stays on the CPU."""
        return self


def open_data(spec: str, sample_shape: tuple[int, ...], seed: int) -> Dataset:
    """Open data by `NAME` or `NAME:ARGUMENT`, fitted to an entry's sample shape.

    Raises:
        UserError: no such data, or the argument or the shape does not suit them.
        OSError: the data can't be read.
    """
    name, _, argument = spec.partition(":")
    if name not in SOURCES:
        raise UserError(f"no data are named {name!r}; there are {', '.join(SOURCES)}")
    module, _, function = SOURCES[name].partition(":")
    data: Dataset = getattr(importlib.import_module(module), function)(argument, sample_shape, seed)
    return data


def read(data: Dataset, n: int, size: int = READ) -> Iterator[Batch]:
    """Read the first n examples of the data's first pass, so many at a time."""
    for step in range(math.ceil(n / size)):
        left = n - step * size
        yield {name: value[:left] for name, value in data.batch(step, size).items()}


class Examples(Protocol):
    """Examples by their places: a tensor, or what reads them from somewhere as they are asked for."""

    @property
    def nbytes(self) -> float:
        """Bytes of them all; infinitely many where memory does not hold them."""
        ...

    @property
    def device(self) -> torch.device:
        """Where they are, and come from."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, places: Tensor) -> Tensor:
        """Give examples: uint8 (n, C, H, W), or float32 (n, D)."""
        ...

    def to(self, device: torch.device) -> "Examples":
        """Put them on a device."""
        ...


class ShuffledDataset(Dataset):
    """A finite set: images as uint8 NCHW, normalised as they are drawn, or float32 vectors.

    Every pass is a new shuffle of the whole set. Batches run on across passes; a set smaller than a batch
    repeats within it.
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
            raise UserError("the data are empty")
        self.real, self.label, self.name = real, label, name
        self.seed, self.labels, self.licence = seed, labels, licence
        self.truth, self._open_held_out = truth, held_out
        self._shuffle = lru_cache(maxsize=2)(self._shuffle_anew)

    def __len__(self) -> int:
        return len(self.real)

    @property
    def size(self) -> float:
        """Examples there are."""
        return len(self)

    @property
    def nbytes(self) -> float:
        """Bytes of the examples."""
        return self.real.nbytes

    def batch(self, step: int, size: int) -> Batch:
        """Give the examples that a step sees: `real`, and `label` where there are labels."""
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

    def _shuffle_anew(self, number: int) -> Tensor:
        # On the examples' device, lest every batch wait for a copy.
        order = torch.randperm(len(self), generator=generator(self.seed, number))
        return order.to(self.real.device)

    def to(self, device: torch.device) -> "ShuffledDataset":
        """Hold the examples on a device."""
        self._shuffle.cache_clear()
        self.real = self.real.to(device)
        self.label = None if self.label is None else self.label.to(device)
        return self


def generator(*key: int) -> torch.Generator:
    """Make a CPU random generator from whole numbers; other numbers, another stream."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]) >> 1)
