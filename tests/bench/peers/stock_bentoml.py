"""BentoML's own adaptive batching: a batchable API of one service, called by another that depends on it."""

import io
import os
from typing import Annotated

import bentoml
import numpy as np
import onnxruntime
from bentoml.validators import ContentType
from PIL import Image

from serving.imaging.sheets import sheet
from serving.runtime.latents import draw_latents


@bentoml.service(workers=1)
class Generator:
    """Runs batches."""

    def __init__(self) -> None:
        self.session = onnxruntime.InferenceSession(
            os.environ["PEER_GRAPH"], providers=["CPUExecutionProvider"]
        )

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
    def draw(self, latents: np.ndarray) -> np.ndarray:
        """Give a picture for each latent."""
        return self.session.run(None, {"latent": latents})[0]


@bentoml.service(workers=1)
class Stock:
    """Samples from seeds."""

    generator = bentoml.depends(Generator)

    @bentoml.api
    async def npy(self, seed: int, n: int) -> Annotated[bytes, ContentType("application/x-npy")]:
        """Draw pictures as an array's bytes."""
        return (await self._draw(seed, n)).tobytes()

    @bentoml.api
    async def png(self, seed: int, n: int) -> Annotated[bytes, ContentType("image/png")]:
        """Draw pictures as a sheet."""
        pixels = sheet(await self._draw(seed, n)) if n > 1 else (await self._draw(seed, n))[0]
        file = io.BytesIO()
        Image.fromarray(pixels.squeeze()).save(file, "PNG")
        return file.getvalue()

    async def _draw(self, seed: int, n: int) -> np.ndarray:
        return await self.generator.to_async.draw(draw_latents(100, list(range(seed, seed + n))))
