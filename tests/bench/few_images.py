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
import math
import os
import shutil
import statistics
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from serving.system.files import write_file
from tests.bench.machine import describe_machine
from training.evaluation.samples import Scorer, open_scorer
from training.loop.averaged import open_averaged
from training.loop.train import train
from training.run.config import RunConfig
from training.run.logger import read_metrics
from training.run.train_config import TrainConfig
from zoo.augment import DEFAULTS
from zoo.models.dcgan import DCGAN

ENTRY = DCGAN(
    channels=3,
    image_size=32,
    width=32,
    objective="non_saturating",
    regularizer="none",
    learning_rate=2e-3,
    betas=(0.0, 0.99),
    schedule="linear",
)
METHODS: dict[str, dict[str, Any]] = {
    "none": {},
    "fixed": {"augment": DEFAULTS},
    "adaptive": {"augment_target": 0.6},
}
CLASS, FEW = "horse", 500
SMILEYS, HELD_OUT = "Smileys & Emotion", 4
"""Category of the emoji, and one of how many of its pictures is held out."""

QUALITY, COPIES = ("kernel", "frechet"), ("memorised", "authenticity")
"""Scores against the other pictures, and against the training pictures."""

PICTURES, MOST_DRAWS = 1000, 8
"""Samples of a generator that are scored, in draws of as many as there are real pictures to compare with."""


def horses(root: Path) -> Iterator[tuple[str, str, bytes]]:
    """Yield part, name and content of the pictures of a class of CIFAR-10; the first few are trained on."""
    with zipfile.ZipFile(root / "cifar10-jpeg.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.split("/")[1:2] == [CLASS])
        training = [name for name in names if name.startswith("train/")][:FEW]
        for name in names:
            part = "train" if name in training else "test"
            yield part, name.replace("/", "-"), archive.read(name)


def smileys(root: Path) -> Iterator[tuple[str, str, Image.Image]]:
    """Yield part, name and picture of one artist's smileys, on white."""
    categories = json.loads((root / "emoji" / "categories.json").read_text())
    paths = sorted((root / "emoji").glob("*A/*.png"), key=lambda path: path.name)
    chosen = [path for path in paths if categories.get(path.name) == SMILEYS]
    for number, path in enumerate(chosen):
        with Image.open(path) as image:
            picture = image.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        part = "train" if number % HELD_OUT else "test"
        yield part, path.name, Image.alpha_composite(white, picture).convert("RGB")


DATA = {"horses": horses, "smileys": smileys}


def write_pictures(name: str, root: Path, folder: Path) -> None:
    """Write the pictures of a data set as `few`, and links to them with the parts swapped as `others`."""
    if folder.exists():
        return
    unfinished = folder.with_suffix(".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    for part in ("train", "test"):
        (unfinished / "few" / part).mkdir(parents=True)
    for part, file, content in DATA[name](root):
        path = unfinished / "few" / part / file
        path.write_bytes(content) if isinstance(content, bytes) else content.save(path)
    (unfinished / "others").mkdir()
    for part, other in (("train", "test"), ("test", "train")):
        (unfinished / "others" / part).symlink_to(Path("..", "few", other), target_is_directory=True)
    unfinished.rename(folder)


def measure(asked: argparse.Namespace, name: str, method: str, seed: int) -> dict[str, Any]:
    """Train one run to its end and score it, unless that is done already; return a cell of the table."""
    pictures, folder = asked.runs / "data" / name, asked.runs / f"{name}-{method}-{seed}"
    finished = folder.with_suffix(".json")
    if finished.exists():
        known: dict[str, Any] = json.loads(finished.read_text())
        return known
    run = TrainConfig(
        data=f"folder:{pictures / 'few'}",
        steps=asked.steps,
        seed=seed,
        out=folder,
        device="cpu",
        sheet_every=asked.steps,
        checkpoint_every=200,
    )
    entry = dataclasses.replace(ENTRY, width=asked.width, **METHODS[method])
    train(RunConfig(name="dcgan", entry=entry, train=run))
    last = read_metrics(folder)[-1]
    followed = {key: last[key] for key in ("augment_probability", "real_sign") if key in last}
    others, few = (scorer_of(pictures / part, asked.features) for part in ("others", "few"))
    draws = min(MOST_DRAWS, math.ceil(PICTURES / others.samples))
    cell = {
        "data": name,
        "method": method,
        "seed": seed,
        "scores": scores(others, folder, draws, QUALITY) | scores(few, folder, draws, COPIES),
        "followed": followed,
        "reference": others.reference,
        "compared": others.samples * draws,
    }
    write_file(finished, json.dumps(cell).encode())
    return cell


def scorer_of(pictures: Path, features: str) -> Scorer:
    """Open the scorer of a folder of pictures."""
    return open_scorer(f"folder:{pictures}", ENTRY.sample_shape, PICTURES, features, torch.device("cpu"))


def scores(scorer: Scorer, folder: Path, draws: int, names: tuple[str, ...]) -> dict[str, float]:
    """Return the means of some scores of a run's averaged generator over several draws of samples."""
    pipeline, count = open_averaged(folder).pipeline, scorer.samples
    every = [
        scorer.score(some.values for some in pipeline.samples(range(draw * count, (draw + 1) * count))).scores
        for draw in range(draws)
    ]
    return {name: statistics.fmean(each[name] for each in every) for name in names if name in every[0]}


def table(cells: list[dict[str, Any]]) -> str:
    """Return a Markdown table: mean and standard deviation of every score over the seeds."""
    heads = ["data", "augmentation", "seeds", *QUALITY, *COPIES, "probability at the end"]
    lines = [heads, ["---"] * len(heads)]
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
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values: list[float | None]) -> str:
    """Format the mean and the standard deviation of values; nothing where they are missing."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    mean = f"{statistics.fmean(known):.3g}"
    return f"{mean} ± {statistics.stdev(known):.2g}" if len(known) > 1 else mean


def report(cells: list[dict[str, Any]], title: str, out: Path) -> None:
    """Write the table and the figures, and print the table."""
    machine = describe_machine()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".md").write_text(f"# {title}\n\n{machine}\n\n{table(cells)}\n")
    figures = {"machine": machine, "title": title, "rows": cells}
    out.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n")
    print(table(cells))


def prepare() -> None:
    """Make a worker process nice, with one thread."""
    os.nice(10)
    torch.set_num_threads(1)


def main() -> None:
    """Run all cells, two at a time, and write the table and the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GANZOO_TEST_DATA", "data")))
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--width", type=int, default=ENTRY.width)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--features", default="efficientnet")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=Path("runs/few_images"), help="one for each setting")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/few_images"))
    asked = parser.parse_args()

    for name in DATA:
        (asked.runs / "data").mkdir(parents=True, exist_ok=True)
        write_pictures(name, asked.data, asked.runs / "data" / name)
    # Seeds outermost, so that what an interrupted benchmark has finished can be reported with fewer seeds.
    wanted = [(name, method, seed) for seed in range(asked.seeds) for name in DATA for method in METHODS]
    with ProcessPoolExecutor(asked.processes, get_context("spawn"), prepare) as pool:
        works = [pool.submit(measure, asked, *cell) for cell in wanted]
        try:
            cells = [work.result() for work in works]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    examples = f"{asked.steps * ENTRY.batch_size:,} examples per run, {asked.seeds} seeds"
    title = f"DCGAN, 32x32 pixels, width {asked.width}, on few images: {examples}, {asked.features} features"
    report(cells, title, asked.out)


if __name__ == "__main__":
    main()
