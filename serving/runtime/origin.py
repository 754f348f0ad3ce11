"""The origin of an artifact's weights, as its manifest describes it."""

from typing import Annotated, Literal

from pydantic import Field

from serving.runtime.tensor import IF_GIVEN, OptionalRange, Part

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Ancestor(Part):
    """A run that another one started from."""

    run: str
    """Name of its folder."""

    entry: str
    data: str
    steps: int
    """Step of the checkpoint that was used."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    """First half of the SHA-256 of that checkpoint."""

    trained_against: Annotated[str | None, IF_GIVEN] = None
    """Name of the features whose pretrained network was a part of its discriminator, if there was one."""


class RunScore(Part):
    """Score of the exported checkpoint, measured during its run. Lower is better."""

    name: str
    value: float
    best: bool
    """Whether no score of the run was better at the time of the export."""


class Training(Part):
    """Origin of weights that were trained with this package."""

    data: str
    steps: int
    """Number of steps that the weights were trained for; the run may have gone on."""

    seed: int
    ema: float
    fit: Annotated[Literal["crop", "pad", "squash"], Field(exclude_if="crop".__eq__)] = "crop"
    """How images of another aspect ratio were fitted."""

    value_range: OptionalRange = None
    """Values that became 0 and 255, for images with more than 8 bits per channel; None for the default."""

    lineage: Annotated[tuple[Ancestor, ...], Field(exclude_if=().__eq__)] = ()
    """The run that this one started from, the run that that one started from, and so on."""

    software: dict[str, str]
    score: Annotated[RunScore | None, IF_GIVEN] = None
    """Score of the weights, if the run was scored at that step."""

    schedule_steps: Annotated[int | None, IF_GIVEN] = None
    """Number of steps of the learning rates' schedule, if it is not `steps`."""

    trained_against: Annotated[tuple[str, ...], Field(exclude_if=().__eq__)] = ()
    """Names of the features whose pretrained networks were parts of the discriminators, of this run or of
    those that it started from; scores in these features would flatter the model."""


class Imported(Part):
    """Origin of weights that were trained elsewhere and imported."""

    layout: str
    """Name of the layout of the imported weights."""

    files: dict[str, Sha256]
    """SHA-256 of the file that each graph's weights were read from."""

    software: dict[str, str]
