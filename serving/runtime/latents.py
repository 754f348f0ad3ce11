"""Inputs of a generator: latents and labels, drawn deterministically from seeds."""

import itertools
import math
from collections.abc import Mapping
from typing import Literal, TypeVar

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import NDArray

from serving.arrays import Array
from serving.errors import EngineError, UserError
from serving.runtime.tensor import Tensor

Latents = NDArray[np.float32]
Distribution = Literal["normal", "uniform"]
Number = TypeVar("Number", bound=np.generic)

MAX_SEED = 2**53 - 1
"""The largest seed: up to it, every JSON parser represents integers exactly."""


def must_be_seeds(n: int, seed: int) -> None:
    """Check a number of samples and the seed of the first one.

    Raises:
        UserError: a number is out of range.
    """
    if n < 1:
        raise UserError(f"n must be at least 1; got {n}")
    if not 0 <= seed <= MAX_SEED - (n - 1):
        raise UserError(f"seeds must be from 0 to {MAX_SEED}; got {seed} to {seed + n - 1}")


def draw_inputs(
    specs: Mapping[str, Tensor],
    seeds: list[int],
    label: int | None = None,
    truncation: float | None = None,
) -> dict[str, Array]:
    """Draw a generator's inputs for some seeds, one row per seed: `latent`, and `label` if it takes one.

    Args:
        specs: the graph's inputs, by name.
        seeds: integers from 0 to MAX_SEED.
        label: the class of every row; by default a seed's class is the seed modulo the number of classes.
        truncation: factor for the latents, as for `truncate`; by default they are not truncated.

    Raises:
        EngineError: an input is neither a latent nor a label.
        UserError: the truncation is out of range.
    """
    inputs = {name: _draw(spec, seeds, label) for name, spec in specs.items()}
    if truncation is not None:
        inputs["latent"] = truncate(inputs["latent"], truncation)
    return inputs


def interpolate_inputs(
    specs: Mapping[str, Tensor],
    seeds: list[int],
    n: int,
    label: int | None = None,
    truncation: float | None = None,
) -> dict[str, Array]:
    """Interpolate between a generator's inputs for some seeds, one row per sample.

    Args:
        specs: the graph's inputs, by name.
        seeds: at least two seeds, in order.
        n: number of rows, both ends included.
        label: the class of every row; by default that of the first seed.
        truncation: as for `draw_inputs`.

    Raises:
        UserError: there are too few seeds or rows, or a number is out of range.
    """
    if len(seeds) < 2:
        raise UserError(f"seeds must have at least 2 items; got {len(seeds)}")
    if n < 2:
        raise UserError(f"n must be at least 2; got {n}")
    for seed in seeds:
        must_be_seeds(1, seed)
    corners = draw_inputs(specs, seeds, label, truncation)
    latents = walk(corners["latent"], n, specs["latent"].distribution or "normal")
    return {name: latents if name == "latent" else np.repeat(rows[:1], n) for name, rows in corners.items()}


def _draw(spec: Tensor, seeds: list[int], label: int | None) -> Array:
    match spec.meaning:
        case "latent":
            return draw_latents(spec.size, seeds, spec.distribution or "normal")
        case "label":
            classes = [seed % spec.classes if label is None else label for seed in seeds]
            return np.array(classes, np.int64)
        case _:
            raise EngineError(
                f"an input of a model that samples must be a latent or a label; got {spec.meaning}"
            )


class Key(ISeedSequence):
    """A seed sequence that makes the seed the key of Philox, like `Philox(key=seed)`.

    `Philox(key=seed)` itself reads entropy from the system first, which this class avoids.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def generate_state(self, n_words: int, dtype: object = np.uint64) -> NDArray[np.uint64]:
        """Return the key as two 64-bit words."""
        return np.array([self.seed, 0], np.uint64)


def draw_latents(size: int, seeds: list[int], distribution: Distribution = "normal") -> Latents:
    """Draw one latent per seed: float32 (len(seeds), size).

    The latent of a seed is the first `size` float32 numbers of NumPy's Philox generator with the seed as its
    key. The numbers are standard normal, or uniform from 0 to 1 and rescaled to -sqrt(3) to sqrt(3). A seed
    has the same latent in any batch, and any client can draw the same latents.
    """
    latents = np.empty((len(seeds), size), np.float32)
    for row, seed in zip(latents, seeds, strict=True):
        numbers = np.random.Generator(np.random.Philox(Key(seed)))  # type: ignore[arg-type]
        draw = numbers.standard_normal if distribution == "normal" else numbers.random
        draw(dtype=np.float32, out=row)
    if distribution == "uniform":
        latents = (latents - np.float32(0.5)) * np.float32(math.sqrt(12))
    return latents


def truncate(latents: Latents, truncation: float) -> Latents:
    """Scale latents towards their mean, 0, which makes samples more alike and more typical.

    Source: the truncation trick of Karras et al. 2019, appendix B, here in the space of the latents.

    Args:
        latents: float32 (N, D).
        truncation: factor for a latent's distance from the mean, above 0; 1 changes nothing.

    Raises:
        UserError: the truncation is out of range.
    """
    if not 0 < truncation <= 1:
        raise UserError(f"truncation must be above 0 and at most 1; got {truncation}")
    return latents * np.float32(truncation)


def walk(corners: Latents, count: int, distribution: Distribution = "normal") -> Latents:
    """Interpolate in even steps from latent to latent: float32 (count, D).

    Every corner is in the result if `count - 1` is a multiple of `M - 1`. Normal latents are interpolated
    along great circles, because straight lines leave the shell in which such latents lie: the length changes
    linearly, and the direction by equal angles. Uniform latents are interpolated linearly.
    Source: White 2016, section 2.

    Args:
        corners: float32 (M, D), at least two.
        count: number of latents to return, both ends included, at least two.
        distribution: the distribution of the corners.
    """
    places = np.linspace(0, len(corners) - 1, count)
    firsts = np.minimum(places.astype(int), len(corners) - 2)
    between = _slerp if distribution == "normal" else _lerp
    return between(corners, firsts, places - firsts.astype(np.float64))


# NumPy may end the process if memory runs out while it combines arrays of different shapes or types. A server
# walks under memory pressure, too: the arrays of every operation below have the same shape and type.


def _lerp(corners: Latents, firsts: NDArray[np.int64], parts: NDArray[np.float64]) -> Latents:
    """Interpolate linearly, a part of the way from each first corner to the next."""
    return _mix(corners, firsts, (1 - parts).astype(np.float32), parts.astype(np.float32))


def _slerp(corners: Latents, firsts: NDArray[np.int64], parts: NDArray[np.float64]) -> Latents:
    """Interpolate along great circles, all rows at once: the server does so between other requests."""
    width = corners.shape[1]
    lengths = np.array([np.linalg.norm(corner) for corner in corners], np.float32)
    directions = corners / _columns(lengths + (lengths == 0).astype(np.float32), width)
    cosines = [float(np.dot(*pair)) for pair in itertools.pairwise(directions)]
    angles = np.array([math.acos(min(max(cosine, -1.0), 1.0)) for cosine in cosines]).take(firsts)
    sines = np.array([math.sin(angle) for angle in angles])
    nears, fars = (
        np.array([math.sin(angle) for angle in some], np.float32)
        for some in ((1 - parts) * angles, parts * angles)
    )
    turned = _mix(directions, firsts, nears, fars).astype(np.float64)
    before, after = lengths.take(firsts), lengths.take(firsts + 1)
    length = (1 - parts) * before.astype(np.float64) + parts * after.astype(np.float64)
    # parallel or opposite directions, or none: no unique great circle
    straight = (sines < 1e-4) | (np.minimum(before, after) == 0) | (parts % 1 == 0)
    curved = turned * _columns(length / np.where(straight, 1.0, sines), width)
    return np.where(_columns(straight, width), _lerp(corners, firsts, parts), curved.astype(np.float32))


def _mix(rows: Latents, firsts: NDArray[np.int64], nears: Latents, fars: Latents) -> Latents:
    """Return `nears` (N,) times the first rows plus `fars` (N,) times the rows after them: (N, D)."""
    width = rows.shape[1]
    first = rows.take(firsts, 0) * _columns(nears, width)
    return first + rows.take(firsts + 1, 0) * _columns(fars, width)


def _columns(values: NDArray[Number], count: int) -> NDArray[Number]:
    """Repeat values (N,) as columns: (N, count)."""
    return np.repeat(values, count).reshape(-1, count)
