"""Claims of papers at a size that fits a CPU: each entry beside what its paper compares it with.

    python -m tests.bench.quality.claims --data ROOT

ROOT holds `emoji`, and `mnist` as torchvision lays it out. The runs of a claim have equal CPU seconds and one
thread. Finished runs are kept in the folder of the runs; the same command continues after an interruption.
"""

import argparse
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from serving.runtime.latents import draw_inputs
from tests.bench import ours
from tests.bench.cells import Cell, file_name, markdown, once, pool_of, report, spread, write_pictures
from tests.bench.course import Course
from tests.bench.few_images import smileys
from tests.bench.quality.cell import SCORES, chosen, judge_of
from training.evaluation.samples import open_scorer

SMALL = {"generator_width": 32, "discriminator_width": 32, "discriminator_steps": 1, "learning_rate": 1e-3}
FEW = {"augment": ("colour", "translation")}


class Run(NamedTuple):
    """A run of a claim."""

    claim: str
    name: str
    entry: str
    changes: dict[str, Any]


class Claim(NamedTuple):
    """What a paper claims, and where it is tried."""

    text: str
    data: str
    size: int
    features: str


CLAIMS = {
    "sngan-projection": Claim(
        "with labels by projection, the distance is lower than without labels, and the labels are obeyed",
        "mnist",
        32,
        "classifier",
    ),
    "fastgan": Claim(
        "on few images, it is better than a DCGAN, and better with the decoders than without",
        "smileys",
        64,
        "efficientnet",
    ),
}

RUNS = [
    Run("sngan-projection", "sngan-projection", "sngan-projection", SMALL),
    Run("sngan-projection", "control: sngan, without labels", "sngan", SMALL),
    Run("fastgan", "fastgan", "fastgan", {"width": 16}),
    Run("fastgan", "control: without decoders", "fastgan", {"width": 16, "reconstruction_weight": 0.0}),
    Run("fastgan", "control: dcgan", "dcgan", {"width": 32} | FEW),
]


def measure(asked: argparse.Namespace, run: Run, seed: int) -> Cell:
    """Train one run for its budget and score it; return a cell of the table."""
    folder = asked.runs / file_name(run.claim, run.name, seed)
    return once(folder, lambda: _measure(asked, run, seed, folder))


def _measure(asked: argparse.Namespace, run: Run, seed: int, folder: Path) -> Cell:
    claim = CLAIMS[run.claim]
    if claim.data == "mnist":
        spec = others = f"mnist:{asked.data / 'mnist'}"
    else:
        spec, others = (f"folder:{asked.runs / 'data' / claim.data / part}" for part in ("few", "others"))
    channels = 1 if claim.data == "mnist" else 3
    shape = (channels, claim.size, claim.size)
    scorer = open_scorer(others, shape, 5000, claim.features, torch.device("cpu"))
    course = Course(60 * asked.minutes, judge_of({claim.features: scorer}))
    state = ours.run(run.entry, {"image_size": claim.size} | run.changes, spec, seed, course)

    pipeline = state.pipeline
    told = np.arange(scorer.samples) % max(1, len(scorer.labels))
    if "label" in (inputs := pipeline.inputs["generator"]):
        told = draw_inputs({"label": inputs["label"]}, list(range(scorer.samples)))["label"]
    samples = (some.values for some in pipeline.samples(range(scorer.samples)))
    scores = scorer.score(samples, told).scores
    assert course.picture is not None
    Image.fromarray(course.picture.squeeze()).save(folder.with_suffix(".png"))
    return {
        "claim": run.claim,
        "name": run.name,
        "seed": seed,
        "steps": state.done,
        "scores": {name: value for name, value in scores.items() if name in (*SCORES, "label_accuracy")},
        "reference": chosen(scorer.reference),
    }


def table(cells: list[Cell]) -> str:
    """Return a Markdown table: mean and standard deviation of every score over the seeds."""
    names = (*SCORES, "label_accuracy")
    lines = [["claim of", "run", "seeds", "steps", *names]]
    for run in RUNS:
        found = [cell for cell in cells if (cell["claim"], cell["name"]) == (run.claim, run.name)]
        steps = f"{sum(cell['steps'] for cell in found) / len(found):,.0f}"
        scores = [spread([cell["scores"].get(name) for cell in found]) for name in names]
        lines.append([run.claim, run.name, str(len(found)), steps, *scores])
    return markdown(lines)


def main() -> None:
    """Run all runs that have no results yet, two at a time, and write the table and the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GANZOO_TEST_DATA", "data")))
    parser.add_argument("--minutes", type=float, default=5.0, help="CPU minutes of a run")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=Path("runs/claims"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/claims"))
    asked = parser.parse_args()
    (asked.runs / "data").mkdir(parents=True, exist_ok=True)
    write_pictures(smileys(asked.data), asked.runs / "data" / "smileys")
    with pool_of(asked.processes) as pool:
        works = [pool.submit(measure, asked, run, seed) for seed in range(asked.seeds) for run in RUNS]
        cells = [work.result() for work in works]
    texts = "\n".join(f"* `{name}`: {claim.text}." for name, claim in CLAIMS.items())
    title = f"Claims of papers, {asked.minutes:g} CPU minutes for each run"
    report(cells, f"{texts}\n\n{table(cells)}", title, asked.out)


if __name__ == "__main__":
    main()
