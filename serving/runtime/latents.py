"""What a generator is fed: latents and classes, drawn from seeds, so that a seed names a picture."""

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import NDArray

from serving.arrays import Array
from serving.errors import EngineError
from serving.runtime.manifest import Tensor

Latents = NDArray[np.float32]
Distribution = Literal["normal", "uniform"]

MAX_SEED = 2**53 - 1
"""Seeds are whole numbers that every JSON reader carries exactly."""


def draw_inputs(specs: Mapping[str, Tensor], seeds: list[int], label: int | None = None) -> dict[str, Array]:
    """Draw what a generator wants for some seeds, a row each: `latent`, and `label` where it is told one.

    Args:
        specs: the graph's inputs, by name.
        seeds: whole numbers from 0 to MAX_SEED.
        label: the class of every row; by default a seed's class is its remainder by the number of classes.

    Raises:
        EngineError: an input is nothing that can be drawn.
    """
    return {name: _draw(spec, seeds, label) for name, spec in specs.items()}


def _draw(spec: Tensor, seeds: list[int], label: int | None) -> Array:
    match spec.meaning:
        case "latent":
            return draw_latents(spec.size, seeds, spec.distribution or "normal")
        case "label":
            classes = [seed % spec.classes if label is None else label for seed in seeds]
            return np.array(classes, np.int64)
        case _:
            raise EngineError(f"an input of the meaning {spec.meaning} can't be drawn")


class Key(ISeedSequence):
    """A seed as Philox's very key, as `Philox(key=seed)` has it; that asks the system for entropy first."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def generate_state(self, n_words: int, dtype: object = np.uint64) -> NDArray[np.uint64]:
        """Give the key, of two words."""
        return np.array([self.seed, 0], np.uint64)


def draw_latents(size: int, seeds: list[int], distribution: Distribution = "normal") -> Latents:
    """Draw one latent a seed: float32 (len(seeds), size).

    The latent of a seed is the first `size` float32 numbers of NumPy's Philox keyed by the seed, standard
    normal, or uniform from 0 to 1 and stretched to -sqrt(3) to sqrt(3); so a seed names a picture, whatever
    batch it is in, and any client can draw the same.
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
    """Draw latents towards their mean, which is 0: pictures more alike, and more like the usual ones.

    Source: Karras et al. 2019, appendix B, whose truncation trick this is, in the latents' own space.

    Args:
        latents: float32 (N, D).
        truncation: what is left of a latent's distance from the mean, above 0; 1 leaves all.
    """
    return latents * np.float32(truncation)


def walk(corners: Latents, count: int, distribution: Distribution = "normal") -> Latents:
    """Walk from latent to latent, evenly: float32 (count, D), each corner among them where the count allows.

    Normal latents go along the great circle between two, as straight lines would leave the shell that such
    latents lie in: the length changes evenly, and the direction by an even angle. Uniform ones go straight.
    Source: White 2016, section 2.

    Args:
        corners: float32 (M, D), two at least.
        count: latents of the walk, both ends included, two at least.
        distribution: what the corners were drawn from.
    """
    places = np.linspace(0, len(corners) - 1, count)
    firsts = np.minimum(places.astype(int), len(corners) - 2)
    pairs = zip(firsts, places - firsts, strict=True)
    between = _slerp if distribution == "normal" else _lerp
    return np.stack([between(corners[first], corners[first + 1], part) for first, part in pairs])


def _lerp(start: Latents, end: Latents, part: float) -> Latents:
    return start * np.float32(1 - part) + end * np.float32(part)


def _slerp(start: Latents, end: Latents, part: float) -> Latents:
    lengths = np.linalg.norm(start), np.linalg.norm(end)
    if part in (0, 1) or min(lengths) == 0:
        return _lerp(start, end, part)
    directions = start / lengths[0], end / lengths[1]
    angle = math.acos(float(np.clip(np.dot(*directions), -1, 1)))
    if math.sin(angle) < 1e-4:  # nowhere to turn to, or everywhere
        return _lerp(start, end, part)
    turned = directions[0] * math.sin((1 - part) * angle) + directions[1] * math.sin(part * angle)
    length = (1 - part) * lengths[0] + part * lengths[1]
    return np.asarray(turned * (length / math.sin(angle)), np.float32)
