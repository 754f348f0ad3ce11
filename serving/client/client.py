"""The client of the server: the methods of a pipeline over HTTP."""

import time
from collections.abc import Sequence
from typing import Self, overload

import httpx
import numpy as np

from serving.arrays import Array, Pixels
from serving.client.protocol import MODELS, Call, Protocol, array_of, content_of
from serving.imaging.intake import ImageLike, Several
from serving.runtime.manifest import Manifest


class Client:
    """A model of a server, with the methods of a pipeline. May be used from several threads.

    If the server is busy or restarting (429, 503), a request is sent again after the time in `Retry-After`.
    Connections are kept open; `close`, or the end of a `with` block, closes them.

    Args:
        url: URL of the server, `http://HOST:PORT`, or of one of its models, `http://HOST:PORT/v1/models/NAME`;
            the name may be left out if there is only one model.
        key: API key, if the server needs one.
        timeout: seconds to wait for a response.
        retries: maximum number of times that a request is sent again.

    Raises:
        UserError: the URL is not valid.
    """

    def __init__(self, url: str, key: str | None = None, *, timeout: float = 60.0, retries: int = 4) -> None:
        self._protocol = Protocol(url, key, retries)
        self._http = httpx.Client(
            base_url=self._protocol.url, headers=self._protocol.headers, timeout=timeout
        )
        self._most = 0
        self._manifest: Manifest | None = None

    def sample(
        self, n: int = 1, *, seed: int = 0, label: str | int | None = None, truncation: float | None = None
    ) -> Array:
        """Draw samples, as `Pipeline.sample` does, by several requests if the server limits them.

        Raises:
            APIError: the response is an error.
            UserError: the server does not respond.
        """
        calls = self._protocol.samples(n, seed, label, truncation, self._limit())
        return np.concatenate([array_of(self._send(call)) for call in calls])

    def interpolate(
        self,
        seeds: Sequence[int],
        n: int = 16,
        *,
        label: str | int | None = None,
        truncation: float | None = None,
    ) -> Array:
        """Interpolate between the samples of seeds, as `Pipeline.interpolate` does.

        Raises:
            APIError: the response is an error.
            UserError: the server does not respond.
        """
        self._limit()
        return array_of(self._send(self._protocol.interpolation(seeds, n, label, truncation)))

    @overload
    def translate(self, image: ImageLike, direction: str | None = None) -> Pixels: ...
    @overload
    def translate(self, image: Several, direction: str | None = None) -> list[Pixels]: ...
    def translate(self, image: ImageLike | Several, direction: str | None = None) -> Pixels | list[Pixels]:
        """Translate an image, or several, as `Pipeline.translate` does, by one request per image.

        Raises:
            APIError: the response is an error.
            UserError: an image is not valid, or the server does not respond.
        """
        match image:
            case list() | tuple():
                return [self.translate(each, direction) for each in image]
            case np.ndarray(ndim=4):
                return np.stack([self.translate(each, direction) for each in image])
        call = self._protocol.translation(image, direction, self.manifest)
        pixels: Pixels = array_of(self._send(call))[0]
        return pixels

    @property
    def manifest(self) -> Manifest:
        """The manifest of the model."""
        if self._manifest is None:
            self._limit()
            self._manifest = Manifest.model_validate_json(self._send(Call(self._protocol.path())))
        return self._manifest

    @property
    def labels(self) -> Sequence[str]:
        """Names of the classes, in the order of the labels; empty if the model takes no label."""
        return self.manifest.labels

    def _limit(self) -> int:
        if not self._most:
            self._most = self._protocol.choose(self._send(Call(MODELS)))
        return self._most

    def _send(self, call: Call) -> bytes:
        for attempt in range(self._protocol.retries + 1):
            try:
                response = self._http.request(**call.options)
            except httpx.TransportError as error:
                raise self._protocol.unreachable(error) from error
            wait = self._protocol.delay(response, attempt)
            if wait is None:
                break
            time.sleep(wait)
        return content_of(response)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {self._protocol.model or 'the only model'} at {self._protocol.url}>"
