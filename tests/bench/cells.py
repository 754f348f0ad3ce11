"""Cells of benchmarks on few images: pictures, the entry, scores, and runs that are measured once."""

import argparse
import json
import math
import os
import shutil
import statistics
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from serving.system.files import write_file
from tests.bench.machine import describe_machine
from training.evaluation.samples import Scorer, open_scorer
from training.loop.averaged import open_averaged
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
CLASS, FEW = "horse", 500

QUALITY, COPIES = ("kernel", "frechet"), ("memorised", "authenticity")
"""Scores against the other pictures, and against the training pictures."""

PICTURES, MOST_DRAWS = 1000, 8
"""Samples of a generator that are scored, in draws of as many as there are real pictures to compare with."""

Cell = dict[str, Any]
Picture = tuple[str, str, bytes | Image.Image]
"""Part, name and content of a picture."""


def horses(root: Path) -> Iterator[Picture]:
    """Yield part, name and content of the pictures of a class of CIFAR-10; the first few are trained on."""
    with zipfile.ZipFile(root / "cifar10-jpeg.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.split("/")[1:2] == [CLASS])
        training = [name for name in names if name.startswith("train/")][:FEW]
        for name in names:
            part = "train" if name in training else "test"
            yield part, name.replace("/", "-"), archive.read(name)


def on_white(path: Path) -> Image.Image:
    """Read a picture with transparency as RGB, on white."""
    with Image.open(path) as image:
        picture = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def write_pictures(pictures: Iterable[Picture], folder: Path) -> None:
    """Write pictures as `few`, and links to them with the parts swapped as `others`, unless that is done."""
    if folder.exists():
        return
    unfinished = folder.with_suffix(".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    for part in ("train", "test"):
        (unfinished / "few" / part).mkdir(parents=True)
    for part, file, content in pictures:
        path = unfinished / "few" / part / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content) if isinstance(content, bytes) else content.save(path)
    (unfinished / "others").mkdir()
    for part, other in (("train", "test"), ("test", "train")):
        (unfinished / "others" / part).symlink_to(Path("..", "few", other), target_is_directory=True)
    unfinished.rename(folder)


def file_name(*parts: object) -> str:
    """Return the name of a cell's files: the parts without spaces and marks, joined by dashes."""
    kept = str.maketrans({" ": "-", ",": "", ":": ""})
    return "-".join(str(part).translate(kept) for part in parts)


def once(folder: Path, work: Callable[[], Cell]) -> Cell:
    """Return the cell of a run, which is stored beside its folder and measured only if it is not there.

    A measured cell also says on which machine.
    """
    finished = folder.with_name(f"{folder.name}.json")
    if finished.exists():
        known: Cell = json.loads(finished.read_text())
        return known
    cell = work() | {"machine": describe_machine()}
    write_file(finished, json.dumps(cell).encode())
    return cell


def finished_in(runs: Path) -> list[Cell]:
    """Return all cells that are stored in the folder of the runs."""
    return [json.loads(path.read_text()) for path in sorted(runs.glob("*.json"))]


def scorers_of(pictures: Path, features: str) -> tuple[Scorer, Scorer]:
    """Open the scorers against the other pictures and against the training pictures."""
    device = torch.device("cpu")
    others, few = (
        open_scorer(f"folder:{pictures / part}", ENTRY.sample_shape, PICTURES, features, device)
        for part in ("others", "few")
    )
    return others, few


def draws_of(others: Scorer) -> int:
    """Return the number of draws of samples that a generator is scored in."""
    return min(MOST_DRAWS, math.ceil(PICTURES / others.samples))


def scores(
    scorer: Scorer, folder: Path, draws: int, names: tuple[str, ...], which: str | int = "newest"
) -> dict[str, float]:
    """Return the means of some scores of a run's averaged generator over several draws of samples."""
    pipeline, count = open_averaged(folder, which).pipeline, scorer.samples
    every = [
        scorer.score(some.values for some in pipeline.samples(range(draw * count, (draw + 1) * count))).scores
        for draw in range(draws)
    ]
    return {name: statistics.fmean(each[name] for each in every) for name in names if name in every[0]}


def spread(values: list[float | None]) -> str:
    """Format the mean and the standard deviation of values; nothing where they are missing."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    mean = f"{statistics.fmean(known):.3g}"
    return f"{mean} ± {statistics.stdev(known):.2g}" if len(known) > 1 else mean


def markdown(lines: list[list[str]]) -> str:
    """Format a Markdown table; the first line has the heads."""
    lines = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def report(cells: list[Cell], table: str, title: str, out: Path) -> None:
    """Write the table and the figures, and print the table."""
    machine = describe_machine()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".md").write_text(f"# {title}\n\n{machine}\n\n{table}\n")
    figures = {"machine": machine, "title": title, "rows": cells}
    out.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n")
    print(table)


def parser_of(name: str, about: str, steps: int) -> argparse.ArgumentParser:
    """Return the parser of a benchmark's flags.

    Args:
        name: name of the benchmark, and of the folder of its runs.
        about: the benchmark's docstring.
        steps: default number of steps of a run.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GANZOO_TEST_DATA", "data")))
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--width", type=int, default=ENTRY.width)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--features", default="efficientnet")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=Path("runs") / name, help="one for each setting")
    parser.add_argument("--out", type=Path, default=Path("benchmarks") / name)
    return parser


@contextmanager
def pool_of(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Open a pool of nice processes of one thread, one for each task; an error cancels what has not begun."""
    with ProcessPoolExecutor(processes, get_context("spawn"), _prepare, max_tasks_per_child=1) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _prepare() -> None:
    os.nice(10)
    torch.set_num_threads(1)
