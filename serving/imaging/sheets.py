"""Pictures of many: contact sheets of images, scatter plots of vectors."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from serving.arrays import Pixels


def picture(output: NDArray[Any], limits: tuple[float, float] | None = None, columns: int = 0) -> Pixels:
    """Draw a graph's whole output as one picture: one image as itself, more as a sheet, vectors as dots.

    Args:
        output: uint8 images (N, H, W, C) or float32 vectors (N, D).
        limits: of vectors, what the picture's edges mean; their own least and greatest number by default.
        columns: of a sheet; 0 is as many as make it most like a square.
    """
    if output.ndim == 4:
        alone: Pixels = output[0]
        return alone if len(output) == 1 else sheet(output, columns)
    return scatter(output, limits or (float(output.min()), float(output.max())))


def sheet(images: Pixels, columns: int = 0, gap: int = 2) -> Pixels:
    """Lay images (N, H, W, C) out in rows on white: pixels (H', W', C).

    Args:
        images: at least one.
        columns: pictures in a row; 0 is as many as make the sheet most like a square.
        gap: white pixels around every picture.
    """
    count, height, width, channels = images.shape
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    rows = math.ceil(count / columns)
    paper = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = (gap + cell * (size + gap) for cell, size in zip(
            divmod(index, columns), (height, width), strict=True
        ))  # fmt: skip
        paper[top : top + height, left : left + width] = image
    return paper


def scatter(points: NDArray[np.float32], limits: tuple[float, float], size: int = 256) -> Pixels:
    """Draw vectors (N, D) as dots by their first two numbers, x right and y up: pixels (size, size, 3).

    Args:
        points: float32 vectors; of one number each, the dots lie on a line.
        limits: what the picture's edges mean, the same in both directions; dots beyond are left out.
        size: height and width of the picture.
    """
    scale, oversampling = size / max(limits[1] - limits[0], 1e-6), 4
    picture = Image.new("RGB", (size * oversampling, size * oversampling), "white")
    draw = ImageDraw.Draw(picture)
    flat = np.pad(points, ((0, 0), (0, max(0, 2 - points.shape[1]))))[:, :2]
    for x, y in ((flat - limits[0]) * scale * oversampling).tolist():
        center = (x, size * oversampling - y)
        draw.circle(center, size * oversampling / 128, fill=(38, 84, 160))
    return np.asarray(picture.reduce(oversampling), dtype=np.uint8)
