"""Fine-tuning: a class of CIFAR-10 from a generator of the nine others, and from scratch, at equal steps.

    python -m tests.bench.fine_tuning --data ROOT

ROOT holds `cifar10-jpeg.zip`. A GAN learns the nine other classes once. GANs that start from it, with and
without frozen layers of the discriminator, and from scratch then learn 500 pictures of the tenth class. Their
samples are scored against the other pictures of the class, on the way and at the end. The control is the GAN
of nine classes as it is.

Finished runs are kept in the folder of the runs. The same command continues after an interruption.
"""

import argparse
import dataclasses
import shutil
import zipfile
from pathlib import Path
from typing import Any

from tests.bench.cells import (
    CLASS,
    COPIES,
    ENTRY,
    FEW,
    QUALITY,
    Cell,
    draws_of,
    horses,
    markdown,
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
from training.run.train_config import TrainConfig

FROZEN = 2
"""Layers of the discriminator that are frozen, of its four."""

BASE = "nine"
"""Name of the run of nine classes, and of its data."""

SCRATCH, UNTOUCHED = "from scratch", "the nine classes, untouched"
METHODS: dict[str, dict[str, Any]] = {
    SCRATCH: {},
    "fine-tuned": {},
    f"fine-tuned, {FROZEN} layers frozen": {"freeze_discriminator": FROZEN},
}


def write_nine(root: Path, folder: Path) -> None:
    """Write the training pictures of the nine other classes of CIFAR-10, unless that is done."""
    if folder.exists():
        return
    unfinished = folder.with_suffix(".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    with zipfile.ZipFile(root / "cifar10-jpeg.zip") as archive:
        for name in archive.namelist():
            part, *rest = name.split("/")
            if part == "train" and rest[0] != CLASS and not name.endswith("/"):
                (unfinished / "-".join(rest)).write_bytes(archive.read(name))
    unfinished.rename(folder)


def run_of(asked: argparse.Namespace, folder: Path, data: Path, steps: int, **settings: Any) -> RunConfig:
    """Return the configuration of a run that keeps the checkpoints of each third of its steps."""
    run = TrainConfig(
        data=f"folder:{data}",
        steps=steps,
        out=folder,
        device="cpu",
        precision="fp32",
        sheet_every=steps,
        checkpoint_every=max(1, steps // 3),
        keep_checkpoints=4,
        **settings,
    )
    return RunConfig(name="dcgan", entry=dataclasses.replace(ENTRY, width=asked.width), train=run)


def learn_nine(asked: argparse.Namespace) -> Cell:
    """Train the run of nine classes, and return the cell of its scores against the tenth class."""
    folder = asked.runs / BASE

    def work() -> Cell:
        train(run_of(asked, folder, asked.runs / "data" / BASE, asked.base_steps))
        return cell_of(asked, folder, UNTOUCHED, 0, {"end": asked.base_steps})

    return once(folder, work)


def measure(asked: argparse.Namespace, method: str, seed: int) -> Cell:
    """Train one run on the tenth class and score it; return a cell of the table."""
    folder = asked.runs / f"{method.replace(', ', '-').replace(' ', '-')}-{seed}"

    def work() -> Cell:
        settings = METHODS[method] | ({} if method == SCRATCH else {"start_from": str(asked.runs / BASE)})
        data = asked.runs / "data" / CLASS / "few"
        train(run_of(asked, folder, data, asked.steps, seed=seed, **settings))
        return cell_of(asked, folder, method, seed, {"third": max(1, asked.steps // 3), "end": asked.steps})

    return once(folder, work)


def cell_of(asked: argparse.Namespace, folder: Path, method: str, seed: int, at: dict[str, int]) -> Cell:
    """Score checkpoints of a run against the tenth class."""
    others, few = scorers_of(asked.runs / "data" / CLASS, asked.features)
    draws = draws_of(others)
    found = {
        time: scores(others, folder, draws, QUALITY, step) | scores(few, folder, draws, COPIES, step)
        for time, step in at.items()
    }
    return {
        "method": method,
        "seed": seed,
        "steps": at,
        "scores": found,
        "reference": others.reference,
        "compared": others.samples * draws,
    }


def table(cells: list[Cell]) -> str:
    """Return a Markdown table: mean and standard deviation of every score over the seeds."""
    columns = [("third", score) for score in QUALITY] + [("end", score) for score in (*QUALITY, *COPIES)]
    names = {"third": "after a third", "end": "at the end"}
    lines = [["method", "seeds", *(f"{score} {names[time]}" for time, score in columns)]]
    for method in (*METHODS, UNTOUCHED):
        found = [cell for cell in cells if cell["method"] == method]
        if found:
            spreads = [
                spread([cell["scores"].get(time, {}).get(score) for cell in found]) for time, score in columns
            ]
            lines.append([method, str(len(found)), *spreads])
    # What the training pictures score against the others does not depend on a run; of copies it says nothing.
    copied = {("end", score): spread([cells[0]["reference"].get(score)]) for score in QUALITY}
    last = ["(the training pictures)", "", *(copied.get(column, "") for column in columns)]
    return markdown([*lines, last])


def main() -> None:
    """Run all cells, two at a time, and write the table and the figures."""
    parser = parser_of("fine_tuning", __doc__, steps=900)
    parser.add_argument("--base-steps", type=int, default=6000)
    asked = parser.parse_args()

    (asked.runs / "data").mkdir(parents=True, exist_ok=True)
    write_pictures(horses(asked.data), asked.runs / "data" / CLASS)
    write_nine(asked.data, asked.runs / "data" / BASE)
    started = [method for method in METHODS if method != SCRATCH]
    with pool_of(asked.processes) as pool:
        nine = pool.submit(learn_nine, asked)
        works = [pool.submit(measure, asked, SCRATCH, seed) for seed in range(asked.seeds)]
        nine.result()
        works += [
            pool.submit(measure, asked, method, seed) for seed in range(asked.seeds) for method in started
        ]
        cells = [nine.result(), *(work.result() for work in works)]
    title = (
        f"DCGAN, 32x32 pixels, width {asked.width}: from nine classes of CIFAR-10 ({asked.base_steps:,} "
        f"steps) to {FEW} pictures of the tenth ({asked.steps:,} steps), {asked.seeds} seeds, "
        f"{asked.features} features"
    )
    report(cells, table(cells), title, asked.out)


if __name__ == "__main__":
    main()
