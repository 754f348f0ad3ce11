"""Response formats: a graph's output encoded as PNG, WebP, JPEG, NumPy array, ZIP or JSON."""

import base64
import functools
import io
import itertools
import json
import math
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from serving.arrays import Array, Pixels
from serving.errors import APIError
from serving.imaging import codec, sheets
from serving.imaging.provenance import Provenance

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
"""Maximum pixels per side of formats that have a limit."""

LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""Time of every file in an archive, the earliest of ZIP, so that equal images give equal archives."""


class Result(NamedTuple):
    """The output of a graph for one request, with options of its encoding."""

    output: Array
    """uint8 images (N, H, W, C) or float32 vectors (N, D)."""

    about: dict[str, Any]
    """Further fields of a JSON response."""

    names: Sequence[str] = ()
    """File names of the images in an archive; by default their numbers."""

    limits: tuple[float, float] | None = None
    """For vectors, the values at the edges of a plot."""

    columns: int = 0
    """Columns of a sheet; 0 makes it as square as possible."""

    milliseconds: int | None = None
    """Duration of each frame of an animation; None if the images are not one."""

    provenance: Provenance | None = None
    """What the whole says of itself; None if it says nothing."""

    single: Callable[[int], Provenance | None] | None = None
    """What an image says of itself in an archive or in JSON, by its number; by default as the whole."""


def encode(result: Result, format: Format) -> bytes:  # noqa: A002 - named as in the request
    """Encode the output of a graph in a format, whose media type is in MEDIA_TYPES.

    As images, float32 vectors are scatter plots of their first two numbers. There is one plot for all
    vectors, but one per vector in an archive or an animation.

    Raises:
        APIError: `invalid_request` (400), the image is too large for the format.
    """
    match format:
        case "npy":
            return _npy(result.output)
        case "json":
            return json.dumps(result.about | _as_json(result), allow_nan=False).encode()
        case "zip":
            return _archive(result)
        case "webp" if result.milliseconds is not None:
            return codec.encode_animation(_frames(result), result.milliseconds, result.provenance)
    picture = sheets.picture(result.output, result.limits, result.columns)
    if max(picture.shape[:2]) > LARGEST.get(format, math.inf):
        raise APIError(
            400,
            "invalid_request",
            f"the format {format} allows at most {LARGEST[format]} pixels a side; "
            f"got {max(picture.shape[:2])}",
            "format",
        )
    return codec.ENCODERS[format.upper()](picture, result.provenance)


def _npy(array: Array) -> bytes:
    """Encode an array as a NumPy file."""
    return _npy_header(array.dtype, array.shape) + np.ascontiguousarray(array).tobytes()


@functools.lru_cache(1024)
def _npy_header(dtype: "np.dtype[Any]", shape: tuple[int, ...]) -> bytes:
    """Return the header of a NumPy file; NumPy takes longer for it than for the numbers."""
    file = io.BytesIO()
    description = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, description)
    return file.getvalue()


def _as_json(result: Result) -> dict[str, Any]:
    about = {"provenance": result.provenance.to_dict()} if result.provenance else {}
    if result.output.ndim == 2:
        return {"vectors": result.output.tolist(), **about}
    return {"images": [base64.b64encode(png).decode() for png in _pngs(result, result.output)], **about}


def _pngs(result: Result, pictures: Iterable[Pixels]) -> Iterator[bytes]:
    """Yield a PNG of each image of a result."""
    said = map(result.single, itertools.count()) if result.single else itertools.repeat(result.provenance)
    return map(codec.encode_png, pictures, said)


def _frames(result: Result) -> list[Pixels]:
    """Draw every image or vector as an image of its own."""
    rows = (result.output[index : index + 1] for index in range(len(result.output)))
    return [sheets.picture(row, result.limits) for row in rows]


def _archive(result: Result) -> bytes:
    """Return a ZIP archive with a PNG of each image or vector."""
    file = io.BytesIO()
    names = result.names or [f"{index:04}" for index in range(len(result.output))]
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, png in zip(names, _pngs(result, _frames(result)), strict=True):
            archive.writestr(zipfile.ZipInfo(f"{name}.png", LONG_AGO), png)
    return file.getvalue()
