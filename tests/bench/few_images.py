"""Few images: no augmentation, fixed and adaptive augmentation, with memorisation beside the score.

    python -m tests.bench.few_images --data ROOT

ROOT holds `cifar10-jpeg.zip` and `emoji`. A GAN learns 500 pictures of one class of CIFAR-10, or three
quarters of the smileys. Its samples are scored against the other pictures of the class, or the other smileys.
The training pictures themselves get a score, too, which a generator that only copies them would have.

Finished runs are kept in the folder of the runs. The same command continues after an interruption.
"""

import argparse
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.cells import (
    COPIES,
    ENTRY,
    QUALITY,
    Cell,
    Picture,
    draws_of,
    horses,
    markdown,
    on_white,
    once,
    parser_of,
    pool_of,
    report,
    scorers_of,
    scores,
    spread,
    write_pictures,
)
from training.loop.train import train
from training.run.config import RunConfig
from training.run.logger import read_metrics
from training.run.train_config import TrainConfig
from zoo.augment import DEFAULTS

METHODS: dict[str, dict[str, Any]] = {
    "none": {},
    "fixed": {"augment": DEFAULTS},
    "adaptive": {"augment_target": 0.6},
}
SMILEYS, HELD_OUT = "Smileys & Emotion", 4
"""Category of the emoji, and one of how many of its pictures is held out."""


def smileys(root: Path) -> Iterator[Picture]:
    """Yield part, name and picture of one artist's smileys, on white."""
    categories = json.loads((root / "emoji" / "categories.json").read_text())
    paths = sorted((root / "emoji").glob("*A/*.png"), key=lambda path: path.name)
    chosen = [path for path in paths if categories.get(path.name) == SMILEYS]
    for number, path in enumerate(chosen):
        part = "train" if number % HELD_OUT else "test"
        yield part, path.name, on_white(path)


DATA = {"horses": horses, "smileys": smileys}


def measure(asked: argparse.Namespace, name: str, method: str, seed: int) -> Cell:
    """Train one run to its end and score it; return a cell of the table."""
    pictures, folder = asked.runs / "data" / name, asked.runs / f"{name}-{method}-{seed}"
    return once(folder, lambda: _measure(asked, pictures, folder, (name, method, seed)))


def _measure(asked: argparse.Namespace, pictures: Path, folder: Path, key: tuple[str, str, int]) -> Cell:
    name, method, seed = key
    run = TrainConfig(
        data=f"folder:{pictures / 'few'}",
        steps=asked.steps,
        seed=seed,
        out=folder,
        device="cpu",
        precision="fp32",
        sheet_every=asked.steps,
        checkpoint_every=200,
    )
    entry = dataclasses.replace(ENTRY, width=asked.width, **METHODS[method])
    train(RunConfig(name="dcgan", entry=entry, train=run))
    last = read_metrics(folder)[-1]
    followed = {key: last[key] for key in ("augment_probability", "real_sign") if key in last}
    others, few = scorers_of(pictures, asked.features)
    draws = draws_of(others)
    return {
        "data": name,
        "method": method,
        "seed": seed,
        "scores": scores(others, folder, draws, QUALITY) | scores(few, folder, draws, COPIES),
        "followed": followed,
        "reference": others.reference,
        "compared": others.samples * draws,
    }


def table(cells: list[Cell]) -> str:
    """Return a Markdown table: mean and standard deviation of every score over the seeds."""
    lines = [["data", "augmentation", "seeds", *QUALITY, *COPIES, "probability at the end"]]
    for name in DATA:
        for method in METHODS:
            found = [cell for cell in cells if (cell["data"], cell["method"]) == (name, method)]
            if not found:
                continue
            columns = [spread([cell["scores"].get(score) for cell in found]) for score in (*QUALITY, *COPIES)]
            ends = spread([cell["followed"].get("augment_probability") for cell in found])
            lines.append([name, method, str(len(found)), *columns, ends])
        copied = [cell["reference"] for cell in cells if cell["data"] == name][:1]
        for reference in copied:
            columns = [spread([reference.get(score)]) for score in QUALITY]
            lines.append([name, "(the training pictures)", "", *columns, "", "", ""])
    return markdown(lines)


def main() -> None:
    """Run all cells, two at a time, and write the table and the figures."""
    asked = parser_of("few_images", __doc__, steps=800).parse_args()

    for name in DATA:
        (asked.runs / "data").mkdir(parents=True, exist_ok=True)
        write_pictures(DATA[name](asked.data), asked.runs / "data" / name)
    # Seeds outermost, so that what an interrupted benchmark has finished can be reported with fewer seeds.
    wanted = [(name, method, seed) for seed in range(asked.seeds) for name in DATA for method in METHODS]
    with pool_of(asked.processes) as pool:
        works = [pool.submit(measure, asked, *cell) for cell in wanted]
        cells = [work.result() for work in works]
    examples = f"{asked.steps * ENTRY.batch_size:,} examples per run, {asked.seeds} seeds"
    title = f"DCGAN, 32x32 pixels, width {asked.width}, on few images: {examples}, {asked.features} features"
    report(cells, table(cells), title, asked.out)


if __name__ == "__main__":
    main()
