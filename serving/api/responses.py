"""Responses: encoded outputs, JSON and API errors."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from serving.api.formats import MEDIA_TYPES, Format, Result, encode
from serving.api.schemas import Failure, Problem
from serving.errors import APIError
from serving.repository.model import ServedModel
from serving.repository.pool import Do, Pool, Value
from serving.repository.repository import ModelRepository
from serving.runtime.tensor import Tensor
from serving.system.stopwatch import STOPWATCH, Stopwatch

QUICK = ("npy",)
"""Formats that are encoded on the event loop, because a thread would take longer."""


PLOT = 2**18
"""Pixels of a scatter plot, which is drawn larger than it is."""


def model_for(request: Request, repository: ModelRepository, task: str | None = None) -> ServedModel:
    """Return the model that a path names, and set it in the scope for the metrics and the access log.

    Raises:
        APIError: `unknown_model` (404) or `wrong_task` (400).
    """
    model = repository.find(request.path_params["model"], task)
    request.scope["model"] = model.name
    return model


def stopwatch_of(request: Request) -> Stopwatch:
    """Return a new stopwatch, and set it in the scope for the traces."""
    request.scope[STOPWATCH] = stopwatch = Stopwatch()
    return stopwatch


def hold_encoder(
    encoders: Pool,
    format: Format,  # noqa: A002 - named as in the request
    pixels: int,
    animated: bool = False,
) -> AbstractContextManager[Do]:
    """Admit the encoding of some pixels, and return a context that yields the function that does it.

    Quick formats need no thread and are always admitted.

    Raises:
        APIError: `busy` (429), too much waits to be encoded.
    """
    if format in QUICK:
        return nullcontext(_call)
    return encoders.hold(f"{format} animation" if animated and format == "webp" else format, pixels)


async def _call(function: Callable[..., Value], *operands: Any) -> Value:
    return function(*operands)


def pixels_of(tensor: Tensor) -> int:
    """Return the pixels that are drawn for one row of an output: an image, or a scatter plot of a vector."""
    return math.prod(map(int, tensor.shape[1:3])) if tensor.meaning == "image" else PLOT


async def respond(
    model: ServedModel,
    result: Result,
    format: Format,  # noqa: A002 - named as in the request
    stopwatch: Stopwatch,
    do: Do,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Encode the output of a graph and return the response.

    Raises:
        APIError: `invalid_request` (400), the output can't be encoded in this format.
    """
    body = await do(encode, result, format)
    stopwatch.lap("encode")
    said = {"X-Model-Version": model.version, "Server-Timing": stopwatch.header()}
    if result.provenance:
        said["X-Provenance"] = result.provenance.to_json()
    return Response(body, headers={**said, **(headers or {})}, media_type=MEDIA_TYPES[format])


def is_known(headers: Headers, tag: str) -> bool:
    """Return whether a client has what an ETag stands for already, by the request's `If-None-Match`."""
    known = headers.get("if-none-match", "")
    return known.strip() == "*" or tag in known


def json_response(content: BaseModel, status: int = 200) -> Response:
    """Return a JSON response of a type in `serving.api.schemas`."""
    return Response(content.model_dump_json(), status, media_type="application/json")


def error_body(error: APIError, request_id: str) -> bytes:
    """Return an API error in the JSON format that all errors share."""
    problem = Problem(code=error.code, message=str(error), field=error.field)
    return Failure(error=problem, request_id=request_id).model_dump_json(exclude_none=True).encode()
