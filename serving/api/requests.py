"""What a request may say: strict types, checked before anything is computed."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from serving.api.formats import Format
from serving.runtime.latents import MAX_SEED

Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Label = int | Annotated[str, Field(max_length=100)]
Truncation = Annotated[float, Field(gt=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class SampleRequest(_Strict):
    """Body of `POST /v1/models/{model}/sample`."""

    n: Annotated[int, Field(ge=1)] | None = None
    """How many pictures; 1, or as many as there are latents."""

    seed: Seed | None = None
    """Picture i is that of seed + i; drawn, and told in the answer, where it is missing."""

    latents: (
        Annotated[
            list[Annotated[list[float], Field(max_length=2**14)]], Field(min_length=1, max_length=2**12)
        ]
        | None
    ) = None
    """The generator's inputs themselves, in place of seeds."""

    label: Label | None = None
    """Number or name of the class of all pictures, for a conditional model; by default they take turns."""

    truncation: Truncation | None = None
    """What is left of the latents' distance from their mean: below 1 pictures are more alike and usual."""

    format: Format = "png"
    """`png`, `webp`, `jpeg`: one picture, or a sheet of them; `npy`: the array; `zip`: a PNG each; `json`:
    base64 PNGs, or vectors' numbers."""

    @property
    def count(self) -> int:
        """How many pictures it asks for."""
        return self.n or len(self.latents or [()])


class PictureRequest(_Strict):
    """Query of `GET /v1/models/{model}/samples/{seed}.png`."""

    version: Annotated[str, Field(max_length=100)] | None = None
    """The model's version; with it the answer is the same for ever."""

    label: Annotated[str, Field(max_length=100)] | None = None
    """As in a sample request."""

    truncation: Annotated[Truncation, Field(strict=False)] | None = None
    """As in a sample request."""


class InterpolateRequest(_Strict):
    """Body of `POST /v1/models/{model}/interpolate`."""

    seeds: Annotated[list[Seed], Field(min_length=2, max_length=64)]
    """Pictures to walk by, in order; the first again at the end closes the round."""

    n: Annotated[int, Field(ge=2)] = 16
    """Pictures of the walk, both ends included."""

    label: Label | None = None
    """Of all pictures, for a conditional model; by default the first seed's."""

    truncation: Truncation | None = None
    """As in a sample request."""

    milliseconds: Annotated[int, Field(ge=10, le=10_000)] = 80
    """That each picture of a film stands."""

    format: Literal["png", "webp", "npy", "zip", "json"] = "webp"
    """`webp`: a film; `png`: a sheet; the others as in a sample request."""


class TranslateRequest(_Strict):
    """What `POST /v1/models/{model}/translate` may say beside its image."""

    direction: Annotated[str, Field(max_length=100)] | None = None
    """The graph that translates, `a2b` or `b2a`; by default the model's first."""

    format: Format = "png"
    """`png`, `webp`, `jpeg`: the picture; `npy`: the array, of one image; `zip`, `json`: the PNG within."""
