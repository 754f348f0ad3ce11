"""What a request may say: strict types, checked before anything is computed."""

import json
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.engine import MAX_SEED, Array, draw_inputs
from serving.errors import Refusal
from serving.manifest import Graph, Manifest, class_of

Format = Literal["png", "npy", "json"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class SampleRequest(_Strict):
    """Body of `POST /v1/models/{model}/sample`."""

    n: Annotated[int, Field(ge=1)] | None = None
    """How many pictures; 1, or as many as there are latents."""

    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    """Picture i is that of seed + i; drawn, and told in the answer, where it is missing."""

    latents: Annotated[list[list[float]], Field(min_length=1)] | None = None
    """The generator's inputs themselves, in place of seeds."""

    label: int | Annotated[str, Field(max_length=100)] | None = None
    """Number or name of the class of all pictures, for a conditional model; by default they take turns."""

    format: Format = "png"
    """`png`: one picture, or a sheet of them; `npy`: the array; `json`: base64 PNGs, or vectors' numbers."""


class TranslateRequest(_Strict):
    """What `POST /v1/models/{model}/translate` may say beside its image."""

    direction: Annotated[str, Field(max_length=100)] | None = None
    """The graph that translates, `a2b` or `b2a`; by default the model's first."""

    format: Format = "png"
    """`png`: the picture; `npy`: the array, of one image; `json`: a base64 PNG."""


def media_type(headers: Mapping[str, str]) -> str:
    """Give the media type that a request says its body is of, without parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(
    headers: Mapping[str, str], stream: AsyncIterator[bytes], limit: int, kinds: tuple[str, ...]
) -> bytes:
    """Read a request's body of one of some media types, `image/*` being any, never more than the limit.

    Raises:
        Refusal: `unsupported_type` (415) or `body_too_large` (413).
    """
    if not any(fnmatchcase(media_type(headers), kind) for kind in kinds):
        raise Refusal(415, "unsupported_type", f"the body must be {' or '.join(kinds)}")
    too_large = Refusal(413, "body_too_large", f"the body may have {limit} bytes")
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise too_large
    body = bytearray()
    async for chunk in stream:
        body += chunk
        if len(body) > limit:
            raise too_large
    return bytes(body)


def parse_sample(body: bytes) -> SampleRequest:
    """Read a sample request.

    Raises:
        Refusal: `invalid_request` (400), with the field at fault.
    """
    with _refusing():
        return SampleRequest.model_validate_json(body)


def parse_translate(said: Mapping[str, str]) -> TranslateRequest:
    """Read what a translate request says beside its image.

    Raises:
        Refusal: `invalid_request` (400), with the field at fault.
    """
    with _refusing():
        return TranslateRequest.model_validate(said)


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn what is found wrong into a refusal."""
    try:
        yield
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = str(first["loc"][0])[:64] if first["loc"] else None
        raise Refusal(400, "invalid_request", first["msg"], field) from None


def inputs_of(
    request: SampleRequest, graph: Graph, labels: Sequence[str], max_images: int
) -> tuple[dict[str, Array], list[int]]:
    """Give the inputs that a request asks a graph for, and the seeds they are of, none for given latents.

    Raises:
        Refusal: `invalid_request` (400), with the field at fault.
    """
    count = request.n or len(request.latents or [()])
    if count > max_images:
        raise Refusal(400, "invalid_request", f"a request may ask for {max_images} pictures at most", "n")
    label = None if request.label is None else _class_of(labels, request.label)
    if request.latents is not None:
        given = _given(request, graph.inputs["latent"].size, request.latents)
        return draw_inputs(graph.inputs, list(range(count)), label) | {"latent": given}, []
    # Drawn low enough that every picture's seed is one.
    seed = secrets.randbelow(MAX_SEED - max_images) if request.seed is None else request.seed
    if seed + count - 1 > MAX_SEED:
        raise Refusal(400, "invalid_request", f"seed + n - 1 may be {MAX_SEED} at most", "seed")
    seeds = list(range(seed, seed + count))
    return draw_inputs(graph.inputs, seeds, label), seeds


def graph_of(request: TranslateRequest, label: Manifest) -> str:
    """Give the graph that translates in the direction that is asked for.

    Raises:
        Refusal: `invalid_request` (400), there is none.
    """
    graph = next(iter(label.graphs)) if request.direction is None else request.direction
    if graph not in label.graphs:
        there = " or ".join(label.graphs)
        raise Refusal(400, "invalid_request", f"the direction must be {there}", "direction")
    return graph


def _class_of(labels: Sequence[str], label: int | str) -> int:
    try:
        return class_of(labels, label)
    except ValueError as error:
        raise Refusal(400, "invalid_request", str(error), "label") from None


def _given(request: SampleRequest, size: int, rows: list[list[float]]) -> NDArray[np.float32]:
    if request.seed is not None:
        raise Refusal(400, "invalid_request", "give a seed or latents, not both", "latents")
    if request.n not in (None, len(rows)):
        raise Refusal(400, "invalid_request", f"n is {request.n}; there are {len(rows)} latents", "n")
    if any(len(row) != size for row in rows):
        raise Refusal(400, "invalid_request", f"every latent must have {size} numbers", "latents")
    with np.errstate(over="ignore"):
        latents = np.array(rows, np.float32)
    if not np.isfinite(latents).all():
        raise Refusal(400, "invalid_request", "a latent's numbers must be finite as float32", "latents")
    return latents


def error_body(refusal: Refusal, request_id: str) -> bytes:
    """Write a refusal as the one JSON shape of every error."""
    error = {"code": refusal.code, "message": str(refusal)}
    if refusal.field is not None:
        error["field"] = refusal.field
    return json.dumps({"error": error, "request_id": request_id}).encode()
