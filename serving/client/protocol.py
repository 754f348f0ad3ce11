"""Requests of the clients to the server, and what the responses mean; nothing is sent here."""

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import httpx
import numpy as np

from serving.arrays import Array
from serving.errors import APIError, UserError
from serving.imaging import codec
from serving.imaging.intake import ImageLike, to_pixels
from serving.runtime.latents import must_be_seeds
from serving.runtime.manifest import Manifest

MODELS = "/v1/models"
RETRIED = (429, 503)
"""Statuses of a server that is busy or restarting; their Retry-After header says when to try again."""

UPLOADED = {".png", ".jpg", ".jpeg", ".webp"}
"""Suffixes of image files that are sent as they are; other images are sent as PNG."""


class Call(NamedTuple):
    """A request to the server."""

    path: str
    body: bytes = b""
    content_type: str = ""
    query: dict[str, str] = {}  # noqa: RUF012 - never changed

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of httpx's `request`: POST if there is a body, else GET."""
        return {
            "method": "POST" if self.body else "GET",
            "url": self.path,
            "content": self.body or None,
            "params": self.query,
            "headers": {"Content-Type": self.content_type} if self.content_type else {},
        }


class Protocol:
    """What the clients share: a server, one of its models, and the requests and responses of its API."""

    def __init__(self, url: str, key: str | None, retries: int) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise UserError(f"url must be http://HOST:PORT or http://HOST:PORT/v1/models/NAME; got {url}")
        root, _, name = parts.path.rstrip("/").partition(f"{MODELS}/")
        self.url = urlunsplit((parts.scheme, parts.netloc, root.removesuffix(MODELS).rstrip("/"), "", ""))
        self.model = unquote(name)
        self.retries = retries
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}

    def choose(self, models: bytes) -> int:
        """Choose the server's only model if none is chosen, and return the maximum of images in a request.

        Raises:
            UserError: the server has several models.
        """
        found = json.loads(models)
        names = [model["name"] for model in found["models"]]
        if not self.model and len(names) != 1:
            raise UserError(f"url must end in {MODELS}/NAME, with one of {', '.join(names)}; got {self.url}")
        self.model = self.model or names[0]
        return int(found["limits"]["images"])

    def path(self, action: str = "") -> str:
        """Return the path of the model, or of an action of it."""
        return f"{MODELS}/{quote(self.model, safe='')}" + (f"/{action}" if action else "")

    def samples(
        self, n: int, seed: int, label: str | int | None, truncation: float | None, most: int
    ) -> list[Call]:
        """Return the requests for some samples, each of at most `most`."""
        must_be_seeds(n, seed)
        fields = {"label": label, "truncation": truncation}
        parts = range(0, n, most)
        return [
            self._post("sample", fields | {"seed": seed + first, "n": min(most, n - first)})
            for first in parts
        ]

    def interpolation(
        self, seeds: Sequence[int], n: int, label: str | int | None, truncation: float | None
    ) -> Call:
        """Return the request for an interpolation."""
        fields = {"seeds": list(seeds), "n": n, "label": label, "truncation": truncation}
        return self._post("interpolate", fields)

    def _post(self, action: str, fields: dict[str, Any]) -> Call:
        given = {name: value for name, value in fields.items() if value is not None}
        body = json.dumps({**given, "format": "npy"}, default=_number).encode()
        return Call(self.path(action), body, "application/json")

    def translation(self, image: ImageLike, direction: str | None, manifest: Manifest) -> Call:
        """Return the request for a translation."""
        if isinstance(image, str | os.PathLike) and Path(image).suffix.lower() in UPLOADED:
            data = Path(image).read_bytes()
        else:
            first = next(iter(manifest.graphs.values()))
            spec = manifest.graphs.get(direction or "", first).inputs.get("image")
            channels, values = (spec.size, spec.value_range) if spec else (3, None)
            data = codec.encode_png(to_pixels(image, channels, values))
        query = {"format": "npy"} | ({"direction": direction} if direction is not None else {})
        return Call(self.path("translate"), data, "application/octet-stream", query)

    def delay(self, response: httpx.Response, attempt: int) -> float | None:
        """Return the seconds until a request is sent again, or None if it is not."""
        if response.status_code not in RETRIED or attempt >= self.retries:
            return None
        said = response.headers.get("Retry-After", "")
        return float(said) if said.isascii() and said.isdecimal() else float(2**attempt)

    def unreachable(self, error: httpx.TransportError) -> UserError:
        """Return the error of a server that does not respond."""
        return UserError(f"the server {self.url} can't be reached: {error or type(error).__name__}")


def _number(value: Any) -> Any:
    """Return a NumPy number as one of Python's, for JSON."""
    if not isinstance(value, np.generic):
        raise UserError(f"an argument must be a number or a text; got {type(value).__name__}")
    return value.item()


def content_of(response: httpx.Response) -> bytes:
    """Return the body of a response.

    Raises:
        APIError: the response is an error.
    """
    if response.is_success:
        return response.content
    try:
        problem = response.json()["error"]
        code, message, field = problem["code"], problem["message"], problem.get("field")
    except (ValueError, KeyError, TypeError):  # of a proxy, or of another server
        code, message, field = "unknown", f"{response.status_code} {response.reason_phrase}", None
    raise APIError(response.status_code, code, message, field)


def array_of(data: bytes) -> Array:
    """Parse a NumPy file."""
    array: Array = np.load(io.BytesIO(data), allow_pickle=False)
    return array
