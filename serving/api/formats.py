"""The formats of an answer: what a graph gives, as bytes of a media type."""

import base64
import functools
import io
import json
import math
import zipfile
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from serving.arrays import Array, Pixels
from serving.errors import APIError
from serving.imaging import codec, sheets

Format = Literal["png", "webp", "jpeg", "npy", "zip", "json"]

MEDIA_TYPES: dict[Format, str] = {
    "png": "image/png",
    "webp": "image/webp",
    "jpeg": "image/jpeg",
    "npy": "application/x-npy",
    "zip": "application/zip",
    "json": "application/json",
}

LARGEST: dict[Format, int] = {"webp": 16_383, "jpeg": 65_500}
"""Pixels that a side may have, where a format has a limit."""

LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The time of every file in an archive, the first that there is: equal pictures make equal archives."""


class Result(NamedTuple):
    """What a graph gave for one request, and what there is to know to show it."""

    output: Array
    """uint8 images (N, H, W, C) or float32 vectors (N, D)."""

    about: dict[str, Any]
    """What JSON says beside the pictures."""

    names: Sequence[str] = ()
    """Of the pictures, as files; by default their numbers."""

    limits: tuple[float, float] | None = None
    """Of vectors, what a picture's edges mean."""

    columns: int = 0
    """Of a sheet; 0 is as many as make it most like a square."""

    milliseconds: int | None = None
    """For each picture, where they are the frames of a film."""


def encode(result: Result, format: Format) -> bytes:  # noqa: A002 - the request's own word
    """Write what a graph gave in a format, of the media type in MEDIA_TYPES.

    Images of float32 vectors are plots of their first two numbers; all in one, but in an archive.

    Raises:
        APIError: `invalid_request` (400), the format can't hold so large a picture.
    """
    match format:
        case "npy":
            return _npy(result.output)
        case "json":
            return json.dumps(result.about | _as_json(result.output), allow_nan=False).encode()
        case "zip":
            return _archive(result)
        case "webp" if result.milliseconds is not None:
            return codec.encode_animation(_frames(result), result.milliseconds)
    picture = sheets.picture(result.output, result.limits, result.columns)
    if max(picture.shape[:2]) > LARGEST.get(format, math.inf):
        raise APIError(
            400, "invalid_request", f"{format} has {LARGEST[format]} pixels a side at most", "format"
        )
    return {"png": codec.encode_png, "webp": codec.encode_webp, "jpeg": codec.encode_jpeg}[format](picture)


def _npy(array: Array) -> bytes:
    """Write an array as NumPy's own file."""
    return _npy_header(array.dtype, array.shape) + np.ascontiguousarray(array).tobytes()


@functools.lru_cache(1024)
def _npy_header(dtype: "np.dtype[Any]", shape: tuple[int, ...]) -> bytes:
    """Write what stands before the numbers; NumPy takes longer for it than for them."""
    file = io.BytesIO()
    description = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, description)
    return file.getvalue()


def _as_json(output: Array) -> dict[str, Any]:
    if output.ndim == 2:
        return {"vectors": output.tolist()}
    return {"images": [base64.b64encode(codec.encode_png(image)).decode() for image in output]}


def _frames(result: Result) -> list[Pixels]:
    """Draw every picture by itself."""
    rows = (result.output[index : index + 1] for index in range(len(result.output)))
    return [sheets.picture(row, result.limits) for row in rows]


def _archive(result: Result) -> bytes:
    """Put a PNG of each picture into an archive."""
    file = io.BytesIO()
    names = result.names or [f"{index:04}" for index in range(len(result.output))]
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, frame in zip(names, _frames(result), strict=True):
            archive.writestr(zipfile.ZipInfo(f"{name}.png", LONG_AGO), codec.encode_png(frame))
    return file.getvalue()
