"""What models' routes answer with: encoded beside the event loop, with their headers."""

import asyncio
import time
from collections.abc import Mapping

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from serving.api.formats import MEDIA_TYPES, Format, Result, encode
from serving.api.schemas import Failure, Problem
from serving.errors import APIError
from serving.repository.model import ServedModel
from serving.repository.repository import ModelRepository

QUICK = ("npy",)
"""Formats that take less time than another thread would."""


def model_for(request: Request, repository: ModelRepository, task: str | None = None) -> ServedModel:
    """Look up the model that a path names, and tell the guard, which counts by it.

    Raises:
        APIError: `unknown_model` (404) or `wrong_task` (400).
    """
    model = repository.find(request.path_params["model"], task)
    request.scope["model"] = model.name
    return model


class Stopwatch:
    """The milliseconds of a request's parts."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.since = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a part."""
        now = time.perf_counter()
        self.parts.append(f"{name};dur={1e3 * (now - self.since):.2f}")
        self.since = now


async def respond(
    model: ServedModel,
    result: Result,
    format: Format,  # noqa: A002 - the request's own word
    stopwatch: Stopwatch,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Answer with what a graph gave, in a format.

    Raises:
        APIError: `invalid_request` (400), it can't be had in this format.
    """
    body = encode(result, format) if format in QUICK else await asyncio.to_thread(encode, result, format)
    stopwatch.lap("encode")
    said = {"X-Model-Version": model.version, "Server-Timing": ", ".join(stopwatch.parts)}
    return Response(body, headers={**said, **(headers or {})}, media_type=MEDIA_TYPES[format])


def json_response(content: BaseModel, status: int = 200) -> Response:
    """Return a response of JSON, of a type in `serving.api.schemas`."""
    return Response(content.model_dump_json(), status, media_type="application/json")


def error_body(error: APIError, request_id: str) -> bytes:
    """Return an API error in the JSON format that all errors share."""
    problem = Problem(code=error.code, message=str(error), field=error.field)
    return Failure(error=problem, request_id=request_id).model_dump_json(exclude_none=True).encode()
