"""A cell of the benchmark: one run, to the end of its budget."""

import argparse
from typing import Any, NamedTuple

import torch
from PIL import Image

from tests.bench.cells import Cell, once
from tests.bench.quality import ours, peers, pictures
from tests.bench.quality.course import SCORES, Course
from training.evaluation.samples import open_scorer

MINUTE = 60

DATA: dict[str, tuple[Any, int, int]] = {
    "cifar10": (pictures.cifar10, 32, 5000),
    "emoji": (pictures.emoji, 64, 5000),
}
"""Pictures, their size, and the largest number of samples that are scored."""

OURS: dict[str, dict[str, Any]] = {
    "dcgan": {},
    "wgan-gp": {},
    "sngan": {},
    "sngan-projection": {},
    "r3gan": {},
    "fastgan": {},
}
"""Our entries, with what is not their default."""


class Key(NamedTuple):
    """What a cell is of."""

    data: str
    minutes: float
    name: str
    seed: int

    @property
    def folder(self) -> str:
        """Name of the cell's files."""
        return f"{self.data}-{self.minutes:g}-{self.name.replace(' ', '-')}-{self.seed}"


def measure(asked: argparse.Namespace, key: Key) -> Cell:
    """Train one run for its budget and score it; return a cell of the table."""
    return once(asked.runs / key.folder, lambda: _measure(asked, key))


def _measure(asked: argparse.Namespace, key: Key) -> Cell:
    _, size, samples = DATA[key.data]
    data = asked.runs / "data" / key.data
    scorer = open_scorer(
        f"folder:{data / 'others'}", (3, size, size), samples, asked.features, torch.device("cpu")
    )
    course = Course(MINUTE * key.minutes, scorer)
    if key.name in peers.PEERS:
        updates = peers.run(key.name, asked.peers, data / "few", size, key.seed, course)
    else:
        updates = ours.run(key.name, OURS[key.name], data / "few", size, key.seed, course)
    assert course.picture is not None
    Image.fromarray(course.picture).save(asked.runs / f"{key.folder}.png")
    return {
        **key._asdict(),
        "updates": updates,
        "history": course.history,
        "reference": {name: scorer.reference[name] for name in SCORES},
        "samples": scorer.samples,
    }
