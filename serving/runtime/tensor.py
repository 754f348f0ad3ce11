"""Inputs and outputs of a graph, as the manifest describes them: types, shapes, meanings and ranges."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serving.imaging.values import ValueRange, must_be_a_range

Meaning = Literal["latent", "label", "image", "vector"]

DTYPES: dict[Meaning, str] = {"latent": "float32", "label": "int64", "image": "uint8", "vector": "float32"}
"""Type of a tensor, by its meaning."""

DIMENSIONS: dict[Meaning, int] = {"latent": 2, "label": 1, "image": 4, "vector": 2}
"""Number of dimensions, the batch included, by meaning."""

ANY_SIZE = ["height", "width"]
"""Names of the height and the width of images of any size."""


class Part(BaseModel):
    """A part of the manifest: typed, frozen, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


IF_GIVEN = Field(exclude_if=lambda given: given is None)
"""A field that is written only if it has a value, so that older versions read the other manifests."""

OptionalRange = Annotated[ValueRange | None, IF_GIVEN]


class Tensor(Part):
    """An input or output of a graph; variable sizes have names, and images are NHWC."""

    dtype: Literal["float32", "uint8", "int64"]
    shape: list[int | str]
    meaning: Meaning
    range: tuple[float, float] | None = None
    """Least and greatest value; for vectors, those observed at export."""

    distribution: Literal["normal", "uniform"] | None = None
    """Distribution of a latent's numbers: standard normal, or uniform from -sqrt(3) to sqrt(3)."""

    multiple: Annotated[int, Field(ge=1)] | None = None
    """An image's height and width must be multiples of this, if they are variable."""

    least: Annotated[int, Field(ge=1)] | None = None
    """Minimum of an image's height and width, if they are variable; a multiple itself."""

    trained_size: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = None
    """Height and width of the training images, if height and width are variable."""

    value_range: OptionalRange = None
    """Values that become 0 and 255, for images with more than 8 bits per channel; None for the default."""

    scale: Annotated[int | None, Field(ge=1), IF_GIVEN] = None
    """Height and width of an output image of any size, in multiples of the input's; None for the same."""

    reach: Annotated[int | None, Field(ge=0), IF_GIVEN] = None
    """Greatest distance in pixels over which an input image of any size changes the output, if the statistics
    of instance normalisations are given; None if it is unlimited or unknown."""

    @model_validator(mode="after")
    def _suits_its_meaning(self) -> "Tensor":
        """Check the type, the shape and the range against the meaning."""
        kind, dimensions = DTYPES[self.meaning], DIMENSIONS[self.meaning]
        if self.dtype != kind or len(self.shape) != dimensions or not _is_batch(self.shape):
            raise ValueError(
                f"the {self.meaning} must be {kind} with a variable batch and {dimensions - 1} positive "
                f"sizes; got {self.dtype} {self.shape}"
            )
        if self.meaning == "image" and self.size not in (1, 3):
            raise ValueError(f"the image must have 1 or 3 channels; got {self.shape}")
        if self.meaning == "image" and self.range not in (None, (0, 255)):
            raise ValueError(f"the image must have the range 0 to 255; got {self.range}")
        low, high = self.range or (0.0, -1.0 if self.meaning in ("label", "vector") else 0.0)
        if self.value_range is not None:
            must_be_a_range(self.value_range)
        if low > high:
            raise ValueError(f"the {self.meaning} must have a range of ascending numbers; got {self.range}")
        if self.meaning == "label" and (low != 0 or not high.is_integer()):
            raise ValueError(f"the label must have a range from 0 to an integer; got {self.range}")
        multiple, least = self.grid
        if least % multiple:
            raise ValueError(f"least must be a multiple of {multiple}; got {least}")
        return self

    @property
    def grid(self) -> tuple[int, int]:
        """The multiple and the minimum of an image's sides."""
        return self.multiple or 1, self.least or self.multiple or 1

    @property
    def size(self) -> int:
        """Size of the last dimension: of a latent, a vector, or an image's channels."""
        return int(self.shape[-1])

    @property
    def any_size(self) -> bool:
        """Whether this is an image of any height and width."""
        return self.shape[1:3] == ANY_SIZE

    @property
    def classes(self) -> int:
        """Number of classes of a label."""
        return int(self.range[1]) + 1 if self.range else 0


def _is_batch(shape: list[int | str]) -> bool:
    """Return whether a shape has a variable batch, and sizes that are fixed or those of any image."""
    sizes = shape[3:] if shape[1:3] == ANY_SIZE else shape[1:]
    return isinstance(shape[0], str) and all(isinstance(size, int) and size > 0 for size in sizes)
