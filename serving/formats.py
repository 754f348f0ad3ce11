"""The formats of an answer: what a graph gives, as bytes of a media type."""

import base64
import io
import json
from typing import Any

import numpy as np

from serving import images
from serving.engine import Array
from serving.requests import Format


def encode(
    output: Array,
    format: Format,  # noqa: A002 - the request's own word
    about: dict[str, Any],
    limits: tuple[float, float] | None = None,
    columns: int = 0,
) -> tuple[bytes, str]:
    """Write a graph's output: the bytes and their media type.

    Args:
        output: uint8 images (N, H, W, C) or float32 vectors (N, D).
        format: one of the request's.
        about: what JSON says beside the pictures.
        limits: of vectors, what a picture's edges mean.
        columns: of a sheet; 0 is as many as make it most like a square.
    """
    match format:
        case "npy":
            file = io.BytesIO()
            np.save(file, output, allow_pickle=False)
            return file.getvalue(), "application/x-npy"
        case "json":
            return json.dumps(about | _as_json(output)).encode(), "application/json"
        case "png":
            return images.encode_png(images.picture(output, limits, columns)), "image/png"


def _as_json(output: Array) -> dict[str, Any]:
    if output.ndim == 2:
        return {"vectors": output.tolist()}
    return {"images": [base64.b64encode(images.encode_png(image)).decode() for image in output]}
