"""Contact sheets of images, and scatter plots of vectors."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from serving.arrays import Pixels


def picture(output: NDArray[Any], limits: tuple[float, float] | None = None, columns: int = 0) -> Pixels:
    """Draw the output of a graph as one image: a single image unchanged, more as a sheet, vectors as a plot.

    Args:
        output: uint8 images (N, H, W, C) or float32 vectors (N, D).
        limits: for vectors, the values at the plot's edges; by default their least and greatest number.
        columns: columns of a sheet; 0 makes it as square as possible.
    """
    if output.ndim == 4:
        alone: Pixels = output[0]
        return alone if len(output) == 1 else sheet(output, columns)
    return scatter(output, limits or (float(output.min()), float(output.max())))


def sheet(images: Pixels, columns: int = 0, gap: int = 2) -> Pixels:
    """Arrange images (N, H, W, C) in rows on white: pixels (H', W', C).

    Args:
        images: at least one image.
        columns: images per row; 0 makes the sheet as square as possible.
        gap: white pixels around every image.
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


def enlarged(images: Pixels, scale: int) -> Pixels:
    """Enlarge images (N, H, W, C) without interpolation."""
    larger: Pixels = images.repeat(scale, 1).repeat(scale, 2)
    return larger


def scatter(points: NDArray[np.float32], limits: tuple[float, float], size: int = 256) -> Pixels:
    """Draw a scatter plot of the first two numbers of vectors (N, D): pixels (size, size, 3).

    The x axis points right and the y axis up.

    Args:
        points: float32 vectors; vectors of one number lie on a line.
        limits: values at the edges of both axes; points beyond them are left out.
        size: height and width of the plot in pixels.
    """
    scale, oversampling = size / max(limits[1] - limits[0], 1e-6), 4
    picture = Image.new("RGB", (size * oversampling, size * oversampling), "white")
    draw = ImageDraw.Draw(picture)
    flat = np.pad(points, ((0, 0), (0, max(0, 2 - points.shape[1]))))[:, :2]
    for x, y in ((flat - limits[0]) * scale * oversampling).tolist():
        center = (x, size * oversampling - y)
        draw.circle(center, size * oversampling / 128, fill=(38, 84, 160))
    return np.asarray(picture.reduce(oversampling), dtype=np.uint8)
