"""The interface of the zoo: `Entry` holds a paper's hyperparameters and builds a `Trainer`."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn

from zoo.errors import ConfigError

Batch = dict[str, Tensor]
"""A batch of examples by name. `real` holds images (N, C, H, W) in [-1, 1] or vectors (N, D). `label`, (N,)
int64, is there if the data have labels. Translators get their two domains as `a` and `b`."""

DistributionName = Literal["normal", "uniform"]
"""Distribution of each element of a latent, with mean 0 and variance 1."""

DataKind = Literal["examples", "domains", "pairs"]
"""Structure of the data: single examples, two unpaired domains, or two domains in aligned pairs."""

Inputs = dict[str, dict[str, Tensor]]
"""Arguments of each generator: generator name to argument name to tensor."""


SampleShape = tuple[Any, ...]
"""Shape of an example: (C, H, W) of an image, (D,) of a vector, or `DomainShapes`."""


class DomainShapes(NamedTuple):
    """Shapes of the images of two domains, (C, H, W) each."""

    a: tuple[int, ...]
    b: tuple[int, ...]

    @classmethod
    def of(cls, shape: SampleShape) -> Self:
        """Return the shapes of both domains; one shape stands for both."""
        return shape if isinstance(shape, cls) else cls(shape, shape)


class Trainer(Protocol):
    """The networks built from an entry, their optimizers and one training step."""

    generators: nn.ModuleDict
    discriminators: nn.ModuleDict
    optimizers: dict[str, torch.optim.Optimizer]

    helpers: nn.ModuleDict = nn.ModuleDict()
    """Networks that are trained with the players but are neither, such as the heads of a contrastive loss.
    They are part of a checkpoint. They are not averaged and not exported."""

    double_backward: bool = True
    """Whether the networks can be differentiated twice without loss of speed; compiled ones can't."""

    def inputs(self, batch: Batch) -> Inputs:
        """Return the inputs of each generator for a batch; latents are drawn at every call."""
        ...

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Run one training step and return detached scalars to log."""
        ...

    def load_pretrained(self, weights: dict[str, Tensor]) -> None:
        """Load the weights of the network that `Entry.pretrained` names. Only training steps need them."""
        return

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run needs beside networks and optimizers; empty by default."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `state_dict`."""
        return


@dataclass(frozen=True, kw_only=True)
class Entry(ABC):
    """A paper's hyperparameters. Subclasses add fields; each field's docstring is its flag's help."""

    task: ClassVar[Literal["sample", "translate"]] = "sample"

    learns_from: ClassVar[DataKind] = "examples"
    """Structure that the data must have."""

    conditions: ClassVar[tuple[str, ...]] = ()
    """Names of the batch's tensors that are passed to the networks as conditions, such as `label`."""

    pretrained: ClassVar[str | None] = None
    """Name of the features, as of `ganzoo evaluate`, whose network is a part of the discriminator. `training`
    hands its weights to `Trainer.load_pretrained`, and refuses to score the entry in these features."""

    former: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Former names of fields, and the present fields that each stood for, to read older runs."""

    added: ClassVar[Mapping[str, Any]] = {}
    """Values of fields that older runs do not have, where they are not the defaults."""

    batch_size: int = 64
    """Examples in a batch."""

    @classmethod
    def present(cls, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return hyperparameters of any version by the present names of fields, with those since added."""
        known = {now: value for name, value in fields.items() for now in cls.former.get(name, (name,))}
        return {**cls.added, **known}

    @property
    @abstractmethod
    def sample_shape(self) -> SampleShape:
        """Shape of one example, (C, H, W) for images or (D,) for vectors; the data are fitted to it.

        A translator may give the `DomainShapes` of its two domains instead.
        """

    @property
    def scored_shape(self) -> SampleShape:
        """Shape of the examples that are scored."""
        return self.sample_shape

    @property
    def classes(self) -> int:
        """Number of classes of a conditional entry, equal to that of the data; 0 if unconditional.

        A conditional entry with 0 classes takes their number from the data, by `for_data`.
        """
        return 0

    def for_data(self, **numbers: int) -> Self:
        """Return the entry for data with these numbers of `classes`, `channels`, or both.

        Each number is that of the field of its name, unless the field has another number than 0 already, or
        the entry has no such field.
        """
        open_fields = {field.name for field in fields(self) if getattr(self, field.name) == 0}
        return replace(self, **{name: numbers[name] for name in numbers.keys() & open_fields})

    @property
    def latent_distribution(self) -> DistributionName:
        """Distribution of the latents, if the generators have latents."""
        return "normal"

    @property
    def multiple(self) -> int:
        """Number that divides the height and width of every image that the generators can translate."""
        return 1

    @property
    def least(self) -> int:
        """Smallest height and width of an image that the generators can translate."""
        return self.multiple

    @property
    def scale(self) -> int:
        """Height and width of a translation, in multiples of those of its source."""
        return 1

    @property
    def examples_per_step(self) -> int:
        """Number of examples in the batch of one training step."""
        return self.batch_size

    @abstractmethod
    def build(self, device: torch.device | str = "cpu") -> Trainer:
        """Build the trainer on a device; weights are drawn from torch's global random state."""

    def learning_rate_at(self, progress: float) -> float:
        """Return the factor applied to every learning rate at `progress` (0 to 1) through the run."""
        return 1.0


def must_have_channels(shape: SampleShape) -> None:
    """Check that the number of channels of an entry's examples is known.

    Raises:
        ConfigError: it is 0, as many as the data have.
    """
    if 0 in shape:
        raise ConfigError(
            "channels must be set before the networks are built; got 0, as many as the data have; use "
            "entry.for_data(channels=1) or (channels=3)"
        )


def doublings(image_size: int) -> int:
    """Return the number of doublings from 4x4 to an image's size.

    Raises:
        ConfigError: the size is not a power of two, or is below 16.
    """
    if image_size < 16 or image_size.bit_count() != 1:
        raise ConfigError(f"image_size must be a power of two, at least 16; got {image_size}")
    return image_size.bit_length() - 3


def split(batch: Batch, parts: int) -> Iterator[Batch]:
    """Yield `parts` equal parts of a batch."""
    chunks = {name: value.chunk(parts) for name, value in batch.items()}
    for index in range(parts):
        yield {name: value[index] for name, value in chunks.items()}
