"""The OpenAPI document of the API, with every request, response and error.

Schemas of requests come from the types that validate them. Paths come from the router.
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
from serving.api.requests import (
    InterpolateRequest,
    PictureRequest,
    SampleRequest,
    TranslateRequest,
    TypedSample,
    TypedTranslate,
)
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
from serving.imaging.structure import FORMATS
from serving.middleware.request import NEVER_BUSY, OPEN
from serving.runtime.manifest import Manifest

JSON, BYTES = "application/json", {"type": "string", "format": "binary"}


@dataclass(frozen=True)
class Call:
    """Request, responses and errors of a route."""

    responses: dict[str, type[BaseModel] | dict[str, Any]]
    """Successful responses, by media type."""

    body: dict[str, type[BaseModel] | dict[str, Any]] = field(default_factory=dict)
    query: type[BaseModel] | None = None
    errors: tuple[int, ...] = ()
    headers: tuple[str, ...] = ()
    also: dict[int, str] = field(default_factory=dict)
    """Other responses: 5xx ones have the same body as 200, others have none."""


def _media(*kinds: str) -> dict[str, type[BaseModel] | dict[str, Any]]:
    """Return the descriptions of binary responses, by media type."""
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
_NOT_READY = {503: "There is no model, a model is out of memory, or the server is shutting down."}
_ABOUT = ("X-Model-Version", "X-Provenance", "Server-Timing")
_INPUT_ERRORS = (400, 404, 408, 413, 415)
CALLS: dict[str, Call] = {
    "list_models": Call({JSON: ModelList}),
    "show_model": Call({JSON: Manifest}, errors=(404,)),
    "sample": Call(
        {**_media("png", "webp", "jpeg", "npy", "zip"), JSON: Pictures},
        {JSON: SampleRequest},
        errors=_INPUT_ERRORS,
        headers=("X-Seed", *_ABOUT),
    ),
    "picture": Call(
        _media("png"),
        query=PictureRequest,
        errors=(400, 404),
        headers=("ETag", "Cache-Control", *_ABOUT),
        also={304: "The image has not changed since the client cached it (If-None-Match)."},
    ),
    "interpolate": Call(
        {**_media("webp", "png", "npy", "zip"), JSON: Pictures},
        {JSON: InterpolateRequest},
        errors=_INPUT_ERRORS,
        headers=_ABOUT,
    ),
    "translate": Call(
        {**_media("png", "webp", "jpeg", "npy", "zip"), JSON: Pictures},
        {"multipart/form-data": _FORM, **_IMAGES},
        TranslateRequest,
        _INPUT_ERRORS,
        ("X-Direction", *_ABOUT),
    ),
    "typed_sample": Call(
        _media("png"), {JSON: TypedSample}, errors=_INPUT_ERRORS, headers=("X-Seed", *_ABOUT)
    ),
    "typed_translate": Call(
        _media("png"), {JSON: TypedTranslate}, errors=_INPUT_ERRORS, headers=("X-Direction", *_ABOUT)
    ),
    "typed_schema": Call({JSON: {"type": "object"}}),
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
        errors=_INPUT_ERRORS,
        headers=(HEADER_LENGTH, "X-Provenance"),
    ),
}

ERRORS = {
    400: "The request is invalid; `field` names the invalid field.",
    401: "The API key is missing or not valid.",
    404: "The model does not exist, or not in this version.",
    408: "The body was not received in time.",
    413: "The body or the image is too large.",
    415: "The media type of the body or the format of the image is not supported.",
    429: "Too many requests are waiting; retry after `Retry-After` seconds.",
    500: "Internal server error; the server's log has the request's id.",
    503: "The response took too long or too much memory; retry after `Retry-After` seconds.",
}


def document(routes: Sequence[Route], has_keys: bool) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of routes.

    Args:
        routes: routes of the API; each has its call in CALLS.
        has_keys: whether requests need an API key.
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
        "servers": [{"url": "."}],
        "paths": paths,
        "components": components,
        "security": [{"key": []}, {"header": []}] if has_keys else [],
    }


def _types(call: Call) -> Iterator[type[BaseModel]]:
    """Yield the types of a call's bodies."""
    for kind in (*call.responses.values(), *call.body.values()):
        inner = kind.get("items", kind) if isinstance(kind, dict) else kind
        if isinstance(inner, type):
            yield inner


def _operation(route: Route, has_keys: bool) -> dict[str, Any]:
    name = route.endpoint.__name__
    call = CALLS[name]
    failure = InferFailure if route.path.startswith("/v2") else Failure
    locked = has_keys and route.path not in OPEN
    common = {500, 503} | ({401} if locked else set()) | (set() if route.path in NEVER_BUSY else {429})
    statuses = sorted(({*call.errors} | common) - call.also.keys())
    responses = {"200": {"description": "Success.", "content": _content(call.responses)}}
    others: dict[str, dict[str, Any]] = {
        str(status): {"description": text} for status, text in call.also.items()
    }
    for status, other in others.items():
        other |= {"content": _content(call.responses)} if status >= "500" else {}
    if call.headers:
        responses["200"]["headers"] = {each: {"schema": {"type": "string"}} for each in call.headers}
    errors = {
        str(status): {"description": ERRORS[status], "content": _content({JSON: failure})}
        for status in statuses
    }
    operation: dict[str, Any] = {
        "operationId": name + ("_of_version" if "{version}" in route.path else ""),
        "summary": (route.endpoint.__doc__ or "").strip().splitlines()[0],
        "parameters": [*_path_parameters(route.path), *_query_parameters(call.query)],
        "responses": responses | others | errors,
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
