"""A cell of the benchmark: one run, to the end of its budget."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from serving.arrays import Array
from serving.imaging.sheets import sheet
from serving.runtime.pipeline import Pipeline
from tests.bench import ours
from tests.bench.cells import Cell, file_name, on_white, once
from tests.bench.course import Course, Judge
from tests.bench.translation import peers
from training.data.dataset import open_data
from training.evaluation.translation.translated import images_of
from training.evaluation.translation.translations import TranslationScorer, open_translation_scorer

SIZE, WIDTH, SHOWN = 64, 32, 10
"""Height and width of the images, channels of the networks' first feature maps, and pairs on a picture."""

SMALL = {
    "image_size": (SIZE, SIZE),
    "resize": 9 / 8,
    "translator": "resnet-6",
    "width": WIDTH,
    "discriminator_width": WIDTH,
}

OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "cyclegan": ("cyclegan", {}),
    "cyclegan, resize": ("cyclegan", {"upsample": "resize"}),
    "cyclegan, antialiased": ("cyclegan", {"upsample": "antialiased"}),
    "cut": ("cut", {}),
    "cut, antialiased": ("cut", {"upsample": "antialiased"}),
    "fastcut": ("fastcut", {}),
    "pix2pix": ("pix2pix", {}),
}
"""Our entries, with what is not their default; pix2pix knows the pairs."""


class Key(NamedTuple):
    """What a cell is of."""

    minutes: float
    name: str
    seed: int

    @property
    def folder(self) -> str:
        """Name of the cell's files."""
        return file_name(f"{self.minutes:g}", self.name, self.seed)


def write_emoji(root: Path, folder: Path) -> None:
    """Write the drawings of both artists, on white, as `trainA`, `trainB`, `testA` and `testB`, once."""
    for path in sorted((root / "emoji").glob("*/*.png")):
        written = folder / path.parent.name / path.name
        if not written.exists():
            written.parent.mkdir(parents=True, exist_ok=True)
            on_white(path).save(written)


def open_scorer(data: Path) -> TranslationScorer:
    """Open the scorer of translations of the emoji, which are held-out pairs."""
    shape = (3, SIZE, SIZE)
    return open_translation_scorer(f"unpaired:{data}", shape, 10_000, "efficientnet", torch.device("cpu"))


def judge_of(scorer: TranslationScorer, data: Path) -> Judge:
    """Return a judge of translators from a to b; its picture has sources, translations and truths in rows."""
    pairs = open_data(f"paired:{data}", (3, SIZE, SIZE), 0).held_out()
    assert pairs is not None
    shown = images_of(pairs, SHOWN)

    def judge(pipeline: Pipeline, is_end: bool) -> tuple[dict[str, Any], Array]:
        one = dataclasses.replace(pipeline, inputs={"a2b": pipeline.inputs["a2b"]})
        rows = [shown["a"], one.translate(shown["a"], "a2b"), shown["b"]]
        return scorer.score(one), sheet(np.concatenate(rows), columns=SHOWN)

    return judge


def measure(asked: argparse.Namespace, key: Key) -> Cell:
    """Train one run for its budget and score it; return a cell of the table."""
    return once(asked.runs / key.folder, lambda: _measure(asked, key))


def _measure(asked: argparse.Namespace, key: Key) -> Cell:
    data = asked.runs / "data"
    scorer = open_scorer(data)
    course = Course(60 * key.minutes, judge_of(scorer, data))
    if key.name in OURS:
        entry, changes = OURS[key.name]
        kind = "paired" if entry == "pix2pix" else "unpaired"
        updates = ours.run(entry, SMALL | changes, f"{kind}:{data}", key.seed, course).done
    else:
        updates = peers.run(key.name, asked.peers, data, SIZE, WIDTH, key.seed, course)
    assert course.picture is not None
    Image.fromarray(course.picture).save(asked.runs / f"{key.folder}.png")
    return {
        **key._asdict(),
        "updates": updates,
        "history": course.history,
        "controls": scorer.controls,
        "samples": scorer.samples,
    }
