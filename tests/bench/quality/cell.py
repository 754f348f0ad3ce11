"""A cell of the benchmark: one run, to the end of its budget."""

import argparse
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from serving.arrays import Array
from serving.imaging.sheets import sheet
from serving.runtime.pipeline import Pipeline
from tests.bench import ours
from tests.bench.cells import Cell, file_name, once
from tests.bench.course import Course, Judge
from tests.bench.quality import peers, pictures
from training.evaluation.samples import Scorer, open_scorer
from zoo import registry

MINUTE = 60

DATA: dict[str, tuple[Any, int, int]] = {
    "cifar10": (pictures.cifar10, 32, 5000),
    "emoji": (pictures.emoji, 64, 5000),
}
"""Pictures, their size, and the largest number of samples that are scored."""

SCORES = ("frechet", "kernel", "precision", "recall")

FEATURES = ("efficientnet", "classifier")
"""Features of the scores; the classifier's are those of a small network that learns the data's classes."""

OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "dcgan": ("dcgan", {}),
    "dcgan, width 64": ("dcgan", {"width": 64}),
    "dcgan, batches of 32": ("dcgan", {"batch_size": 32}),
    "dcgan, penalty in every update": ("dcgan", {"regularizer_interval": 1}),
    "wgan-gp": ("wgan-gp", {}),
    "sngan": ("sngan", {}),
    "sngan-projection": ("sngan-projection", {}),
    "r3gan": ("r3gan", {}),
    "fastgan": ("fastgan", {}),
    "projected-gan": ("projected-gan", {}),
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
        return file_name(self.data, f"{self.minutes:g}", self.name, self.seed)


def judge_of(scorers: dict[str, Scorer]) -> Judge:
    """Return a judge of samples, by the names of the features; before the end, by the first score only."""
    count = max(scorer.samples for scorer in scorers.values())

    def judge(pipeline: Pipeline, is_end: bool) -> tuple[dict[str, Any], Array]:
        samples = np.concatenate([some.values for some in pipeline.samples(range(count))])
        if is_end:
            found = {name: chosen(scorer.score([samples]).scores) for name, scorer in scorers.items()}
        else:
            found = {name: {"frechet": scorer.headline_score([samples])} for name, scorer in scorers.items()}
        return found, sheet(samples[:80], columns=10)

    return judge


def chosen(scores: dict[str, float]) -> dict[str, float]:
    """Return the scores of the table."""
    return {name: scores[name] for name in SCORES}


def measure(asked: argparse.Namespace, key: Key) -> Cell:
    """Train one run for its budget and score it; return a cell of the table."""
    return once(asked.runs / key.folder, lambda: _measure(asked, key))


def _measure(asked: argparse.Namespace, key: Key) -> Cell:
    _, size, samples = DATA[key.data]
    data = asked.runs / "data" / key.data
    entry, changes = OURS.get(key.name, ("", {}))
    against = registry.load(entry).pretrained if entry else None
    scorers = {
        features: open_scorer(
            f"folder:{data / 'others'}", (3, size, size), samples, features, torch.device("cpu")
        )
        for features in FEATURES
        if features != against
    }
    course = Course(MINUTE * key.minutes, judge_of(scorers))
    if entry:
        fields = {"image_size": size} | changes
        updates = ours.run(entry, fields, f"folder:{data / 'few'}", key.seed, course).done
    else:
        updates = peers.run(key.name, asked.peers, data / "few", size, key.seed, course)
    assert course.picture is not None
    Image.fromarray(course.picture).save(asked.runs / f"{key.folder}.png")
    return {
        **key._asdict(),
        "updates": updates,
        "history": course.history,
        "reference": {name: chosen(scorer.reference) for name, scorer in scorers.items()},
        "samples": {name: scorer.samples for name, scorer in scorers.items()},
    }
