"""Samples from a run or an artifact, by the seeds that the server uses too."""

from pathlib import Path

import numpy as np
import torch

from serving import images, manifest
from serving.engine import Array, Engine, draw_latents
from training.durable import write_file
from training.export import restore
from training.record import to_pixels

CHUNK = 64


def sample(source: Path, n: int, seed: int) -> Array:
    """Draw the pictures of seeds `seed` to `seed + n - 1`: uint8 (n, H, W, C) or float32 vectors (n, D).

    Args:
        source: an artifact, run by the serving engine, or a run, whose averaged generator torch runs.
        n: how many.
        seed: the first one's.

    Raises:
        ValueError: the source is neither, or it does not sample.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1; got {n}")
    chunks = [range(first, min(first + CHUNK, seed + n)) for first in range(seed, seed + n, CHUNK)]
    draw = _from_artifact if (source / manifest.FILE).exists() else _from_run
    return draw(source, [list(chunk) for chunk in chunks])


def _from_artifact(folder: Path, chunks: list[list[int]]) -> Array:
    engine = Engine(folder)
    if engine.manifest.task != "sample":
        raise ValueError(f"{folder} translates images; it does not sample")
    ((name, graph),) = engine.manifest.graphs.items()
    size = graph.inputs["latent"].size
    return np.concatenate([engine.run(name, {"latent": draw_latents(size, seeds)}) for seeds in chunks])


def _from_run(folder: Path, chunks: list[list[int]]) -> Array:
    training = restore(folder)
    if training.card.entry.task != "sample":
        raise ValueError(f"{folder} translates images; it does not sample")
    ((name, generator),) = training.average.generators.items()
    size = training.probe[name]["latent"].shape[1]
    outputs = []
    for seeds in chunks:
        with torch.no_grad():
            output = generator(latent=torch.from_numpy(draw_latents(size, seeds)))
        outputs.append(to_pixels(output) if output.ndim == 4 else output)
    return torch.cat(outputs).numpy()


def draw(source: Path, n: int, seed: int, out: Path) -> None:
    """Write samples as one picture (`.png`) or as the array (`.npy`); arguments as for `sample`.

    Raises:
        ValueError: the path ends in neither, or the source can't be sampled.
    """
    if out.suffix not in (".png", ".npy"):
        raise ValueError(f"samples are written as .png or .npy; got {out.name}")
    samples = sample(source, n, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".png":
        write_file(out, images.encode_png(images.picture(samples)))
    else:
        np.save(out, samples, allow_pickle=False)
