"""Scores of real images that are damaged on purpose: each score must change in order of the damage.

    python -m tests.bench.features --data DIR

DIR has cifar10-jpeg.zip (a folder per class) and emoji/trainA. The pixels themselves and the same network
with random weights are the controls. Finished cells are kept in the JSON file. A second call continues.
"""

import argparse
import io
import json
import os
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torch.nn import functional as F

from serving.system.files import write_file
from tests.bench.machine import describe_machine
from training.data.dataset import open_data, read
from training.evaluation import metrics
from training.evaluation.efficientnet import EfficientNet
from training.graphs.pixels import to_pixels
from zoo.efficientnet import Network

CPU = torch.device("cpu")
SAMPLES = {"cifar10": 2000, "emoji": 1000}
STRENGTHS = {
    "blur": (0.5, 1, 2),
    "jpeg": (50, 20, 5),
    "noise": (5, 15, 45),
    "dropped classes": (5, 7, 9),
    "duplicates": (2, 8, 32),
}
UNITS = {
    "blur": "standard deviation in pixels",
    "jpeg": "quality",
    "noise": "standard deviation in levels",
    "dropped classes": "number of the ten classes, the rarest first, without images",
    "duplicates": "times that each image appears",
}
FIDELITY, DIVERSITY = {"precision", "density", "coverage"}, {"recall", "coverage"}
MOVES = dict.fromkeys(("blur", "jpeg", "noise"), FIDELITY) | dict.fromkeys(
    ("dropped classes", "duplicates"), DIVERSITY
)
"""Scores that must fall with a fault. The two distances must rise with every fault."""

DISTANCES = ("frechet", "kernel")
NAMES = (*DISTANCES, "precision", "density", "recall", "coverage")
SIZES = (250, 500, 1000, 2000, 4000, 8000)


class Images(NamedTuple):
    """Images, uint8 (N, C, H, W), and their classes, (N,)."""

    pixels: Tensor
    classes: Tensor


@cache
def load(name: str, folder: Path) -> Images:
    """Load a dataset in a fixed random order: 20,000 images of CIFAR-10, or all emoji."""
    if name == "cifar10":
        batches = list(read(open_data(f"folder:{folder / 'cifar10-jpeg.zip'}", (3, 32, 32), 0), 20_000))
        pixels = [torch.from_numpy(to_pixels(batch["real"]).numpy()).permute(0, 3, 1, 2) for batch in batches]
        return Images(torch.cat(pixels), torch.cat([batch["label"] for batch in batches]))
    categories = json.loads((folder / "emoji" / "categories.json").read_text())
    kinds = sorted(set(categories.values()), key=list(categories.values()).count)
    paths = sorted((folder / "emoji" / "trainA").glob("*.png"))
    paths = [paths[index] for index in np.random.default_rng(0).permutation(len(paths))]
    pixels = [_on_white(Image.open(path)) for path in paths]
    classes = [kinds.index(categories[path.name]) for path in paths]
    return Images(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2), torch.tensor(classes))


def _on_white(image: Image.Image) -> Any:
    coloured = image.convert("RGBA")
    return np.asarray(
        Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured).convert("RGB")
    )


def damage(images: Images, fault: str, strength: float, n: int) -> Tensor:
    """Return n images with a fault: uint8 (n, C, H, W)."""
    match fault:
        case "none":
            return images.pixels[:n]
        case "blur":
            blur = ImageFilter.GaussianBlur(strength)
            return _each(images.pixels[:n], lambda image: image.filter(blur))
        case "jpeg":
            return _each(images.pixels[:n], lambda image: _as_jpeg(image, int(strength)))
        case "noise":
            chance = torch.Generator().manual_seed(0)
            chosen = images.pixels[:n].float()
            noisy = chosen + strength * torch.randn(chosen.shape, generator=chance)
            return noisy.round().clamp(0, 255).byte()
        case "dropped classes":
            kept = images.pixels[images.classes >= strength]
            return kept[torch.arange(n) % len(kept)]
        case _:
            return images.pixels[torch.arange(n) // int(strength)]


def _each(pixels: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    images = [Image.fromarray(each) for each in pixels.permute(0, 2, 3, 1).contiguous().numpy()]
    return torch.from_numpy(np.stack([np.asarray(change(each)) for each in images])).permute(0, 3, 1, 2)


def _as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


@cache
def extractor(name: str) -> Callable[[Tensor], Tensor]:
    """Return an extractor by name: uint8 (N, C, H, W) to float32 (N, D)."""
    if name == "pixels":
        return lambda images: F.adaptive_avg_pool2d(images.float() / 255, 16).flatten(1)
    torch.manual_seed(0)
    network = EfficientNet(CPU, None if name == "efficientnet" else _random_network())
    return lambda images: network(images).features


def _random_network() -> Network:
    """Return the network with random weights, scaled so that the signal neither dies nor explodes."""
    network = Network()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    return network


def score(real: Tensor, fake: Tensor) -> dict[str, float]:
    """Return the six scores of two sets of features."""
    return {
        "frechet": metrics.frechet(real, fake),
        "kernel": metrics.kernel(real, fake),
        **metrics.neighbourhoods(real, fake),
    }


def cells(folder: Path, sizes: dict[str, int], done: dict[str, Any]) -> Iterator[None]:
    """Measure every cell that is not done yet."""
    for data, n in sizes.items():
        for features in ("efficientnet", "random", "pixels"):
            see = extractor(features)
            images = load(data, folder)
            others = Images(images.pixels[n:], images.classes[n:])
            seen: Tensor | None = None
            for fault, strength in [("none", 0.0), *((f, s) for f, many in STRENGTHS.items() for s in many)]:
                key = f"{data}|{features}|{fault}|{strength:g}"
                if key in done:
                    continue
                seen = see(images.pixels[:n]) if seen is None else seen
                done[key] = score(seen, see(damage(others, fault, strength, n)))
                yield
    images = load("cifar10", folder)
    for n in SIZES:
        key = f"settling|{n}"
        if n <= 4 * sizes["cifar10"] and key not in done:
            see = extractor("efficientnet")
            done[key] = score(see(images.pixels[:n]), see(images.pixels[n : 2 * n]))
            yield


def in_order(rows: list[dict[str, float]], name: str) -> bool:
    """Return whether a score gets worse with every strength: a distance rises, another score falls."""
    values = [row[name] if name in DISTANCES else -row[name] for row in rows]
    return all(before < after for before, after in pairwise(values))


def table(done: dict[str, Any], sizes: dict[str, int]) -> str:
    """Format the cells as Markdown."""
    head = ["data", "fault", "features", "Fréchet distance, none to strongest", *NAMES]
    lines = [head, ["---"] * len(head)]
    kept: dict[str, list[bool]] = {}
    for data in sizes:
        for fault, strengths in STRENGTHS.items():
            for features in ("efficientnet", "random", "pixels"):
                row = [
                    done[f"{data}|{features}|{one}|{strength:g}"]
                    for one, strength in (("none", 0), *((fault, strength) for strength in strengths))
                ]
                asked = {*DISTANCES, *MOVES[fault]}
                right = {name: in_order(row, name) for name in NAMES if name in asked}
                kept.setdefault(features, []).extend(right.values())
                said = [{True: "yes", False: "**no**", None: ""}[right.get(name)] for name in NAMES]
                distances = ", ".join(f"{each['frechet']:.3g}" for each in row)
                lines.append([data, fault, features, distances, *said])
    totals = "\n".join(f"* {name}: {sum(all_)} of {len(all_)} orders" for name, all_ in kept.items())
    settling = [["samples", *NAMES], ["---"] * 7]
    sizes_done = [n for n in SIZES if f"settling|{n}" in done]
    settling += [[str(n), *(f"{done[f'settling|{n}'][name]:.3g}" for name in NAMES)] for n in sizes_done]
    units = "\n".join(
        f"* {name}, {UNITS[name]}: {', '.join(map(str, many))}" for name, many in STRENGTHS.items()
    )
    return (
        f"{totals}\n\n{_rows(lines)}\n\n## Strengths\n\n{units}\n\n## Number of samples\n\nScores of "
        "CIFAR-10 against other images of it, with the features efficientnet:\n\n"
        f"{_rows(settling)}\n"
    )


def _rows(lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure what is missing, write the table and the figures, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/features"))
    parser.add_argument("--divide", type=int, default=1, help="divide the number of samples, for a trial")
    asked = parser.parse_args()
    os.nice(5)
    sizes = {name: n // asked.divide for name, n in SAMPLES.items()}
    file, done = asked.out.with_suffix(".json"), {}
    if file.exists():
        found = json.loads(file.read_text())
        done = found["cells"] if found["samples"] == sizes else {}
    machine = describe_machine("pillow")
    for _ in cells(asked.data, sizes, done):
        record = {"machine": machine, "samples": sizes, "cells": done}
        write_file(file, (json.dumps(record, indent=2) + "\n").encode())
        print(f"{len(done)} cells", flush=True)
    counts = ", ".join(f"{n} images of {name}" for name, n in sizes.items())
    text = (
        f"# Scores against damage of known strength\n\n{machine}\n\nReal images against other real ones "
        f"that are damaged: {counts}. An order is kept if the score gets worse with each of the strengths. "
        "The controls are `random`, the network of `efficientnet` with random weights, and `pixels`, the "
        f"images at 16x16 pixels.\n\n{table(done, sizes)}"
    )
    write_file(asked.out.with_suffix(".md"), text.encode())
    print(text)


if __name__ == "__main__":
    main()
