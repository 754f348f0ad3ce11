"""The contract as an OpenAPI document: every request, answer and error of every route, and a page to read it.

What a request may say comes from the types that check it, what routes there are from the router itself.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.routing import Route

from serving.api.formats import MEDIA_TYPES
from serving.api.open_inference.tensors import HEADER_LENGTH, InferRequest
from serving.api.requests import InterpolateRequest, PictureRequest, SampleRequest, TranslateRequest
from serving.api.schemas import (
    Alive,
    Failure,
    IndexedModel,
    InferAnswer,
    InferFailure,
    ModelList,
    ModelMetadata,
    ModelReady,
    Pictures,
    Ready,
    ServerLive,
    ServerMetadata,
    ServerReady,
)
from serving.imaging.codec import FORMATS
from serving.middleware.request import OPEN
from serving.runtime.manifest import Manifest

JSON, BYTES = "application/json", {"type": "string", "format": "binary"}


@dataclass(frozen=True)
class Call:
    """What one route takes and gives."""

    answers: dict[str, type[BaseModel] | dict[str, Any]]
    """By media type."""

    body: dict[str, type[BaseModel] | dict[str, Any]] = field(default_factory=dict)
    query: type[BaseModel] | None = None
    errors: tuple[int, ...] = ()
    headers: tuple[str, ...] = ()
    also: dict[int, str] = field(default_factory=dict)
    """Other answers: without a body, or of the same as 200 where it is a fault of the server's."""


def _media(*kinds: str) -> dict[str, type[BaseModel] | dict[str, Any]]:
    """Describe answers of bytes."""
    return {MEDIA_TYPES[kind]: BYTES for kind in kinds}  # type: ignore[index]


_IMAGES = {f"image/{kind.lower()}": BYTES for kind in FORMATS} | {"application/octet-stream": BYTES}
_FORM = {
    "type": "object",
    "required": ["image"],
    "properties": {
        "image": BYTES,
        "direction": {"type": "string"},
        "format": {"type": "string", "enum": list(MEDIA_TYPES)},
    },
}
_NOT_READY = {503: "There are no models, one can't be run for want of memory, or the server is about to end."}
_ABOUT = ("X-Model-Version", "Server-Timing")
_REFUSED = (400, 404, 408, 413, 415, 429)
CALLS: dict[str, Call] = {
    "list_models": Call({JSON: ModelList}),
    "show_model": Call({JSON: Manifest}, errors=(404,)),
    "sample": Call(
        {**_media("png", "webp", "jpeg", "npy", "zip"), JSON: Pictures},
        {JSON: SampleRequest},
        errors=_REFUSED,
        headers=("X-Seed", *_ABOUT),
    ),
    "picture": Call(
        _media("png"),
        query=PictureRequest,
        errors=(400, 404, 429),
        headers=("ETag", "Cache-Control", *_ABOUT),
        also={304: "The picture that the client has, by its If-None-Match, is still the one."},
    ),
    "interpolate": Call(
        {**_media("webp", "png", "npy", "zip"), JSON: Pictures},
        {JSON: InterpolateRequest},
        errors=_REFUSED,
        headers=_ABOUT,
    ),
    "translate": Call(
        {**_media("png", "webp", "jpeg", "npy", "zip"), JSON: Pictures},
        {"multipart/form-data": _FORM, **_IMAGES},
        TranslateRequest,
        _REFUSED,
        ("X-Direction", *_ABOUT),
    ),
    "alive": Call({JSON: Alive}),
    "ready": Call({JSON: Ready}, also=_NOT_READY),
    "metrics": Call({"text/plain": {"type": "string"}}),
    "openapi": Call({JSON: {"type": "object"}}),
    "docs": Call({"text/html": {"type": "string"}}),
    "server_metadata": Call({JSON: ServerMetadata}),
    "server_live": Call({JSON: ServerLive}),
    "server_ready": Call({JSON: ServerReady}, also=_NOT_READY),
    "repository_index": Call({JSON: {"type": "array", "items": IndexedModel}}),
    "model_metadata": Call({JSON: ModelMetadata}, errors=(404,)),
    "model_ready": Call({JSON: ModelReady}, errors=(404,), also=_NOT_READY),
    "infer": Call(
        {JSON: InferAnswer, "application/octet-stream": BYTES},
        {JSON: InferRequest, "application/octet-stream": BYTES},
        errors=_REFUSED,
        headers=(HEADER_LENGTH,),
    ),
}

ERRORS = {
    400: "The request is wrong; `field` says where.",
    401: "A key is needed, and there is none or another one.",
    404: "There is no such model, or it has no such version.",
    408: "The body came too slowly.",
    413: "The body or the image is too large.",
    415: "The body is of another type.",
    429: "Too much is waiting; try again after `Retry-After` seconds.",
    500: "The server failed; its log has the request's id.",
    503: "There was no answer in time, or no memory for it; try again after `Retry-After` seconds.",
}


def document(routes: Sequence[Route], has_keys: bool) -> dict[str, Any]:
    """Describe routes as OpenAPI 3.1.

    Args:
        routes: of the contract; each has its call in CALLS.
        has_keys: whether a key is needed.
    """
    used = {kind for call in CALLS.values() for kind in _types(call)} | {Failure, InferFailure}
    ordered: Any = [(kind, "validation") for kind in sorted(used, key=lambda kind: kind.__name__)]
    _, schemas = models_json_schema(ordered, ref_template="#/components/schemas/{model}")
    components: dict[str, Any] = {"schemas": schemas["$defs"]}
    if has_keys:
        components["securitySchemes"] = {
            "key": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        (method,) = (route.methods or {"GET"}) - {"HEAD"}
        paths.setdefault(route.path, {})[method.lower()] = _operation(route, has_keys)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ganzoo",
            "version": "1",
            "description": "Sampling and translation by GANs. BentoML's own client reads /schema.json.",
        },
        "paths": paths,
        "components": components,
        "security": [{"key": []}, {"header": []}] if has_keys else [],
    }


def _types(call: Call) -> Iterator[type[BaseModel]]:
    """List the types that a call is described with."""
    for kind in (*call.answers.values(), *call.body.values()):
        inner = kind.get("items", kind) if isinstance(kind, dict) else kind
        if isinstance(inner, type):
            yield inner


def _operation(route: Route, has_keys: bool) -> dict[str, Any]:
    name = route.endpoint.__name__
    call = CALLS[name]
    failure = InferFailure if route.path.startswith("/v2") else Failure
    locked = has_keys and route.path not in OPEN
    statuses = sorted({*call.errors, 500, 503, *([401] if locked else [])} - call.also.keys())
    answers = {"200": {"description": "Done.", "content": _content(call.answers)}}
    others: dict[str, dict[str, Any]] = {
        str(status): {"description": text} for status, text in call.also.items()
    }
    for status, other in others.items():
        other |= {"content": _content(call.answers)} if status >= "500" else {}
    if call.headers:
        answers["200"]["headers"] = {each: {"schema": {"type": "string"}} for each in call.headers}
    errors = {
        str(status): {"description": ERRORS[status], "content": _content({JSON: failure})}
        for status in statuses
    }
    operation: dict[str, Any] = {
        "operationId": name + ("_of_version" if "{version}" in route.path else ""),
        "summary": (route.endpoint.__doc__ or "").strip().splitlines()[0],
        "parameters": [*_path_parameters(route.path), *_query_parameters(call.query)],
        "responses": answers | others | errors,
    }
    if has_keys and not locked:
        operation["security"] = []
    if call.body:
        operation["requestBody"] = {"required": True, "content": _content(call.body)}
    return operation


def _content(kinds: dict[str, Any]) -> dict[str, Any]:
    return {media: {"schema": _schema(kind)} for media, kind in kinds.items()}


def _schema(kind: type[BaseModel] | dict[str, Any]) -> dict[str, Any]:
    if isinstance(kind, type):
        return {"$ref": f"#/components/schemas/{kind.__name__}"}
    return kind | ({"items": _schema(kind["items"])} if "items" in kind else {})


def _path_parameters(path: str) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", path):
        kind = {"type": "integer", "minimum": 0} if name == "seed" else {"type": "string"}
        yield {"name": name, "in": "path", "required": True, "schema": kind}


def _query_parameters(kind: type[BaseModel] | None) -> Iterator[dict[str, Any]]:
    properties = {} if kind is None else kind.model_json_schema()["properties"]
    for name, schema in properties.items():
        yield {"name": name, "in": "query", "required": False, "schema": schema}


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>GAN Zoo: the API</title>
<link rel="stylesheet" href="static_content/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="static_content/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({url: "docs.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});
</script>
</body>
</html>
"""
"""Swagger UI, as BentoML's package brings it: nothing is asked of any other host."""
