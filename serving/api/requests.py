"""Request types: strict pydantic models, validated before any computation."""

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
    """Number of images; by default 1, or the number of latents."""

    seed: Seed | None = None
    """Seed of the first image; image i has the seed `seed + i`. By default random, and in the response."""

    latents: (
        Annotated[
            list[Annotated[list[float], Field(max_length=2**14, fail_fast=True)]],
            Field(min_length=1, max_length=2**12, fail_fast=True),
        ]
        | None
    ) = None
    """Latents of the images, in place of seeds."""

    label: Label | None = None
    """Number or name of the class of all images, for a conditional model; by default the classes cycle."""

    truncation: Truncation | None = None
    """Factor for the latents' distance from their mean; below 1, images are more alike and more typical."""

    format: Format = "png"
    """`png`, `webp`, `jpeg`: one image, or a sheet of n; `npy`: the array; `zip`: a PNG of each image;
    `json`: base64 PNGs, or vectors."""

    @property
    def count(self) -> int:
        """Number of images requested."""
        return self.n or len(self.latents or [()])


class PictureRequest(_Strict):
    """Query of `GET /v1/models/{model}/samples/{seed}.png`."""

    version: Annotated[str, Field(max_length=100)] | None = None
    """Version of the model; with it, the response never changes and can be cached."""

    label: Annotated[str, Field(max_length=100)] | None = None
    """As in a sample request."""

    truncation: Annotated[Truncation, Field(strict=False)] | None = None
    """As in a sample request."""


class InterpolateRequest(_Strict):
    """Body of `POST /v1/models/{model}/interpolate`."""

    seeds: Annotated[list[Seed], Field(min_length=2, max_length=64)]
    """Seeds to interpolate between, in order; repeat the first at the end for a loop."""

    n: Annotated[int, Field(ge=2)] = 16
    """Number of images, both ends included."""

    label: Label | None = None
    """Class of all images, for a conditional model; by default the class of the first seed."""

    truncation: Truncation | None = None
    """As in a sample request."""

    milliseconds: Annotated[int, Field(ge=10, le=10_000)] = 80
    """Duration of each frame of an animation, in milliseconds."""

    format: Literal["png", "webp", "npy", "zip", "json"] = "webp"
    """`webp`: an animation; `png`: a sheet; the others as in a sample request."""


class TranslateRequest(_Strict):
    """Fields of `POST /v1/models/{model}/translate`, in its form or its query."""

    direction: Annotated[str, Field(max_length=100)] | None = None
    """Direction of the translation, `a2b`, `b2a` or `upscale`; by default the model's first."""

    format: Format = "png"
    """`png`, `webp`, `jpeg`: the image; `npy`: the array of one image; `zip`, `json`: the image as a PNG."""


class TypedSample(_Strict):
    """Body of BentoML's typed call `POST /sample`."""

    model: Annotated[str, Field(max_length=200)]
    """Name of the model."""

    n: Annotated[int, Field(ge=1)] = 1
    """Number of images."""

    seed: Seed | None = None
    """As in a sample request, and so are the others."""

    label: Label | None = None
    truncation: Truncation | None = None


class TypedTranslate(_Strict):
    """Body of BentoML's typed call `POST /translate`."""

    model: Annotated[str, Field(max_length=200)]
    """Name of the model."""

    image: str
    """A PNG, JPEG or WebP image in base64."""

    direction: Annotated[str, Field(max_length=100)] | None = None
    """As in a translate request."""
