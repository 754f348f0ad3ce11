"""Ablation of DCGAN settings at a fixed budget of CPU time, over several seeds: a table of scores.

    python -m tests.bench.ablation --data mnist:ROOT

The number of steps is what the budget allows on this machine, measured once per cell. Learning rate schedules
use this number.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import torch

from tests.bench.machine import describe_machine
from training.data.dataset import open_data
from training.evaluation.compare import compare, table
from training.loop.train import TrainState, train
from training.run.config import RunConfig
from training.run.train_config import TrainConfig
from zoo.models.dcgan import DCGAN, DCGAN2015

PAPER: dict[str, Any] = dataclasses.asdict(DCGAN2015(image_size=32, channels=1, width=32))
FAST = {"learning_rate": 2e-3, "schedule": "linear"}
BETAS = {"betas": (0.0, 0.99)}
HUANG = {"objective": "relativistic", "regularizer": "r1+r2", "regularizer_weight": 0.02}

CELLS: dict[str, dict[str, Any]] = {
    "paper": {},
    "1e-3": {"learning_rate": 1e-3},
    "2e-3-linear": FAST,
    "betas": FAST | BETAS,
    "smoothing": FAST | BETAS | {"label_smoothing": 0.1},
    "translation": FAST | {"augment": ("translation",)},
    "hinge-spectral": FAST | {"objective": "hinge", "spectral_norm": True, "discriminator_norm": "none"},
    "r1": FAST | {"regularizer": "r1", "regularizer_weight": 0.01},
    "r1+r2": FAST | HUANG,
    "r1+r2-betas": FAST | BETAS | HUANG,
}


def affordable_steps(entry: DCGAN, data: str, budget: float) -> int:
    """Return the number of steps that fit a budget of CPU seconds on this machine."""
    training, source = (
        TrainState(config(entry, data, TrainConfig(device="cpu", precision="fp32"))),
        open_data(data, entry.sample_shape, 0),
    )
    for _ in range(5):
        training.step(source)
    start, count = time.process_time(), 30
    for _ in range(count):
        training.step(source)
    return max(1, round(budget * count / (time.process_time() - start)))


def config(entry: DCGAN, data: str, run: TrainConfig) -> RunConfig:
    """Return the configuration of a run."""
    return RunConfig(name="dcgan", entry=entry, train=dataclasses.replace(run, data=data))


def main() -> None:
    """Run every cell that has no results yet, and write the table and the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="dataset, e.g. mnist:ROOT")
    parser.add_argument("--budget", type=float, default=100.0, help="CPU seconds per run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--cells", nargs="*", choices=CELLS, default=list(CELLS))
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/ablation"))
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)

    folders = []
    for name in asked.cells:
        entry = DCGAN(**PAPER | CELLS[name])
        steps = None
        for seed in range(asked.seeds):
            folder = asked.runs / f"{name}-{seed}"
            folders.append(folder)
            if (folder / "run.json").exists():  # resumes it if it is not finished
                train(RunConfig.read(folder))
                continue
            steps = steps or affordable_steps(entry, asked.data, asked.budget)
            run = TrainConfig(
                steps=steps,
                seed=seed,
                out=folder,
                device="cpu",
                precision="fp32",
                score_every=max(1, steps // 5),
                score_samples=5000,
                sheet_every=steps,
                checkpoint_every=steps,
            )
            train(config(entry, asked.data, run))

    of = f"{asked.budget:g} CPU seconds per run on {asked.threads} thread(s), {asked.seeds} seeds"
    data = asked.data.partition(":")[0]
    report(folders, f"DCGAN, 32x32 pixels, width 32, on {data}: {of}", asked.out)


def report(folders: list[Path], title: str, out: Path) -> None:
    """Write the table and the figures, and print the table."""
    rows, machine = compare(folders), describe_machine()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".md").write_text(f"# {title}\n\n{machine}\n\n{table(rows)}\n")
    figures = {"machine": machine, "title": title, "rows": [dataclasses.asdict(r) for r in rows]}
    out.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
