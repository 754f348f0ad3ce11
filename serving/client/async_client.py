"""The asynchronous client: the methods of `Client` as coroutines."""

import asyncio
from collections.abc import Sequence
from typing import Self, overload

import httpx
import numpy as np

from serving.arrays import Array, Pixels
from serving.client.protocol import MODELS, Call, Protocol, array_of, content_of
from serving.imaging.intake import ImageLike, Several
from serving.runtime.manifest import Manifest


class AsyncClient:
    """A model of a server, with the methods of a pipeline as coroutines; otherwise as `Client`."""

    def __init__(self, url: str, key: str | None = None, *, timeout: float = 60.0, retries: int = 4) -> None:
        self._protocol = Protocol(url, key, retries)
        self._http = httpx.AsyncClient(
            base_url=self._protocol.url, headers=self._protocol.headers, timeout=timeout
        )
        self._most = 0
        self._manifest: Manifest | None = None

    async def sample(
        self, n: int = 1, *, seed: int = 0, label: str | int | None = None, truncation: float | None = None
    ) -> Array:
        """Draw samples, as `Client.sample` does."""
        calls = self._protocol.samples(n, seed, label, truncation, await self._limit())
        return np.concatenate([array_of(await self._send(call)) for call in calls])

    async def interpolate(
        self,
        seeds: Sequence[int],
        n: int = 16,
        *,
        label: str | int | None = None,
        truncation: float | None = None,
    ) -> Array:
        """Interpolate between the samples of seeds, as `Client.interpolate` does."""
        await self._limit()
        return array_of(await self._send(self._protocol.interpolation(seeds, n, label, truncation)))

    @overload
    async def translate(self, image: ImageLike, direction: str | None = None) -> Pixels: ...
    @overload
    async def translate(self, image: Several, direction: str | None = None) -> list[Pixels]: ...
    async def translate(
        self, image: ImageLike | Several, direction: str | None = None
    ) -> Pixels | list[Pixels]:
        """Translate an image, or several at once, as `Client.translate` does."""
        manifest = await self.manifest()
        match image:
            case list() | tuple():
                return list(await asyncio.gather(*(self.translate(each, direction) for each in image)))
            case np.ndarray(ndim=4):
                return np.stack(await self.translate(list(image), direction))
        call = self._protocol.translation(image, direction, manifest)
        pixels: Pixels = array_of(await self._send(call))[0]
        return pixels

    async def manifest(self) -> Manifest:
        """Return the manifest of the model."""
        if self._manifest is None:
            await self._limit()
            self._manifest = Manifest.model_validate_json(await self._send(Call(self._protocol.path())))
        return self._manifest

    async def labels(self) -> Sequence[str]:
        """Return the names of the classes; empty if the model takes no label."""
        return (await self.manifest()).labels

    async def _limit(self) -> int:
        if not self._most:
            self._most = self._protocol.choose(await self._send(Call(MODELS)))
        return self._most

    async def _send(self, call: Call) -> bytes:
        for attempt in range(self._protocol.retries + 1):
            try:
                response = await self._http.request(**call.options)
            except httpx.TransportError as error:
                raise self._protocol.unreachable(error) from error
            wait = self._protocol.delay(response, attempt)
            if wait is None:
                break
            await asyncio.sleep(wait)
        return content_of(response)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()
