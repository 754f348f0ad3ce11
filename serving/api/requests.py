"""What a request may say: strict types, checked before anything is computed."""

import asyncio
import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect, Request

from serving.api.formats import Format
from serving.errors import Refusal
from serving.runtime.engine import Array
from serving.runtime.latents import MAX_SEED, draw_inputs, truncate, walk
from serving.runtime.manifest import Graph, Manifest, class_of

Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Label = int | Annotated[str, Field(max_length=100)]
Truncation = Annotated[float, Field(gt=0, le=1)]
Asked = TypeVar("Asked", bound=BaseModel)
Given = TypeVar("Given")

BODY_SECONDS = 20.0
"""That a body may take to come."""

LARGE = 2**16
"""Bytes of JSON that are read within a millisecond."""


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


def media_type(headers: Mapping[str, str]) -> str:
    """Give the media type that a request says its body is of, without parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request, limit: int, kinds: tuple[str, ...]) -> bytes:
    """Read a request's body of one of some media types, `image/*` being any, never more than the limit.

    Raises:
        Refusal: `unsupported_type` (415), `body_too_large` (413) or `too_slow` (408).
        ClientDisconnect: the client has gone.
    """
    kind = media_type(request.headers)
    if kind not in kinds and not any(fnmatchcase(kind, each) for each in kinds):
        raise Refusal(415, "unsupported_type", f"the body must be {' or '.join(filter(None, kinds))}")
    declared = request.headers.get("content-length", "")
    _must_be_small(int(declared[:20]) if declared.isdecimal() else 0, limit)
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                body += message.get("body", b"")
                _must_be_small(len(body), limit)
                more = message.get("more_body", False)
    except TimeoutError:
        raise Refusal(408, "too_slow", f"the body must come within {BODY_SECONDS:g} s") from None
    return bytes(body)


def _must_be_small(size: int, limit: int) -> None:
    if size > limit:
        raise Refusal(413, "body_too_large", f"the body may have {limit} bytes")


async def read_json(request: Request, limit: int) -> bytes:
    """Read a request's body of JSON.

    Raises:
        Refusal: `unsupported_type` (415), `body_too_large` (413) or `too_slow` (408).
    """
    return await read_body(request, limit, ("application/json",))


async def parse_body(kind: type[Asked], body: bytes) -> Asked:
    """Read a request of JSON; a large one beside the event loop.

    Raises:
        Refusal: `invalid_request` (400), with the field at fault.
    """
    with _refusing():
        return await in_thread_if(len(body) > LARGE, kind.model_validate_json, body)


async def in_thread_if(large: bool, work: Callable[..., Given], *operands: Any) -> Given:
    """Do what takes long beside the event loop, and what does not at once."""
    return await asyncio.to_thread(work, *operands) if large else work(*operands)


def parse_fields(kind: type[Asked], said: Sequence[tuple[str, str]]) -> Asked:
    """Read a request of fields and their texts, as a form or a query has them.

    Raises:
        Refusal: `invalid_request` (400), with the field at fault.
    """
    names = [name for name, _ in said]
    if twice := [name for name in names if names.count(name) > 1]:
        raise Refusal(400, "invalid_request", "a field may stand once", twice[0][:64])
    with _refusing():
        return kind.model_validate(dict(said))


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
    count = request.count
    _must_be_few(count, max_images)
    label = None if request.label is None else _class_of(labels, request.label)
    if request.latents is not None:
        given = _given(request, graph.inputs["latent"].size, request.latents)
        return draw_inputs(graph.inputs, list(range(count)), label) | {"latent": given}, []
    # Drawn low enough that every picture's seed is one.
    seed = secrets.randbelow(MAX_SEED - max_images) if request.seed is None else request.seed
    if seed + count - 1 > MAX_SEED:
        raise Refusal(400, "invalid_request", f"seed + n - 1 may be {MAX_SEED} at most", "seed")
    seeds = list(range(seed, seed + count))
    return _truncated(draw_inputs(graph.inputs, seeds, label), request.truncation), seeds


def inputs_of_walk(
    request: InterpolateRequest, graph: Graph, labels: Sequence[str], max_images: int
) -> dict[str, Array]:
    """Give the inputs that a walk feeds a graph with, a row for each of its pictures.

    Raises:
        Refusal: `invalid_request` (400), with the field at fault.
    """
    _must_be_few(request.n, max_images)
    label = None if request.label is None else _class_of(labels, request.label)
    corners = _truncated(draw_inputs(graph.inputs, request.seeds, label), request.truncation)
    latents = walk(corners["latent"], request.n, graph.inputs["latent"].distribution or "normal")
    return {
        name: latents if name == "latent" else np.repeat(drawn[:1], request.n)
        for name, drawn in corners.items()
    }


def _must_be_few(count: int, max_images: int) -> None:
    if count > max_images:
        raise Refusal(400, "invalid_request", f"a request may ask for {max_images} pictures at most", "n")


def _truncated(inputs: dict[str, Array], truncation: float | None) -> dict[str, Array]:
    """Draw the latents of some inputs towards their mean."""
    if truncation is None:
        return inputs
    return inputs | {"latent": truncate(inputs["latent"], truncation)}


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
    if request.truncation is not None:
        raise Refusal(400, "invalid_request", "latents are taken as they are given", "truncation")
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
