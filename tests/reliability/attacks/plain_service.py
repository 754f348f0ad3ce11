"""The control of the typed calls: a service with the same methods, as BentoML's tutorials write it."""

import base64
import io
from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import ContentType
from PIL import Image

from serving.runtime.latents import draw_latents
from tests.reliability.naive import _engine

Png = Annotated[bytes, ContentType("image/png")]


def _png(pixels: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels).squeeze()).save(file, "PNG")
    return file.getvalue()


@bentoml.service(name="plain", logging={"access": {"enabled": False}})
class Plain:
    """Sampling and translation."""

    @bentoml.api(route="/sample")  # type: ignore[untyped-decorator]
    def sample(self, model: str, n: int = 1, seed: int | None = None) -> Png:
        """Sample images from seeds."""
        engine = _engine(model)
        size = engine.manifest.graphs["generator"].inputs["latent"].size
        return _png(engine.run("generator", {"latent": draw_latents(size, [seed or 0])})[0])

    @bentoml.api(route="/translate")  # type: ignore[untyped-decorator]
    def translate(self, model: str, image: str, direction: str = "a2b") -> Png:
        """Translate an image in base64."""
        opened = Image.open(io.BytesIO(base64.b64decode(image, validate=True)))
        return _png(_engine(model).run(direction, {"image": np.asarray(opened)[None]})[0])
