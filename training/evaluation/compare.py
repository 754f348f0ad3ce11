"""Comparison of runs: their settings, scores and throughput."""

import dataclasses
import json
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from serving.errors import UserError
from training.evaluation.validator import by
from training.run.config import RunConfig
from training.run.logger import read_metrics
from training.run.scores import Scores, read_scores

CHOICES = (
    "data",
    "precision",
    "sync_batch_norm",
    "ema",
    "on_collapse",
    "score_samples",
    "patience",
    "schedule_steps",
)
"""Fields of the run configuration that belong to the method. All fields of the entry belong to it."""


class Scored(NamedTuple):
    """Scores and throughput from the log of a run."""

    scores: Scores
    samples_per_second: float


@dataclasses.dataclass(frozen=True)
class Row:
    """Results of one method, aggregated over its seeds."""

    changes: dict[str, Any]
    """Settings that differ from those of the first run."""

    seeds: list[int]
    steps: int
    score: str
    """Name of the score. Lower is better."""

    last: float
    """Mean of the last score over the seeds."""

    spread: float
    """Standard deviation of the last score over the seeds. 0 for one seed."""

    last_by_best: float
    """Last score divided by the best score, the maximum over the seeds."""

    reference: float
    """Score of held-out real data."""

    samples_per_second: float
    """Training throughput in examples per second, the median over the log and the seeds."""

    by_first: float = 1.0
    """Last score divided by the last score of the first run's row."""


def compare(runs: list[Path]) -> list[Row]:
    """Read finished runs and group them into rows by method and number of steps, the best first.

    The first run is the baseline. Each row lists the settings that differ from it, and is scored relative to
    its row.

    Raises:
        UserError: a folder has no run, or the run is not finished or has no scores.
    """
    configs = [RunConfig.read(folder) for folder in runs]
    methods: dict[str, list[RunConfig]] = {}
    for config in configs:
        methods.setdefault(json.dumps([_method(config), config.train.steps], default=str), []).append(config)
    rows = [_row(together, _method(configs[0])) for together in methods.values()]
    first = rows[0]
    rows = [dataclasses.replace(row, by_first=by(row.last, first.last)) for row in rows]
    return sorted(rows, key=lambda row: (row.score, row.last))


def _method(config: RunConfig) -> dict[str, Any]:
    run = {name: getattr(config.train, name) for name in CHOICES}
    return {"entry": config.name, **dataclasses.asdict(config.entry), **run}


def _row(configs: list[RunConfig], first: dict[str, Any]) -> Row:
    scored = [_read(config) for config in configs]
    last = [run.scores.last.value for run in scored]
    return Row(
        changes={key: value for key, value in _method(configs[0]).items() if first.get(key, value) != value},
        seeds=sorted(config.train.seed for config in configs),
        steps=configs[0].train.steps,
        score=scored[0].scores.name,
        last=statistics.mean(last),
        spread=statistics.stdev(last) if len(last) > 1 else 0.0,
        last_by_best=max(by(run.scores.last.value, run.scores.best.value) for run in scored),
        reference=statistics.mean(run.scores.reference for run in scored),
        samples_per_second=statistics.median(run.samples_per_second for run in scored),
    )


def _read(config: RunConfig) -> Scored:
    folder, run = config.folder, config.train
    lines, scores = read_metrics(folder), read_scores(folder)
    done = lines[-1]["step"] if lines else 0
    if done < run.steps and not (scores and scores.exhaust(run.patience)):
        raise UserError(
            f"the run {folder} is not finished: it has {done} of {run.steps} steps; resume it first"
        )
    rates = [line["samples_per_second"] for line in lines if "samples_per_second" in line]
    if not scores or not rates:
        raise UserError(f"the run {folder} has no scores; train it with --score-every")
    return Scored(scores, statistics.median(rates))


def table(rows: Iterable[Row]) -> str:
    """Format rows as a Markdown table."""
    lines = [
        "| changes | steps | seeds | score | last | relative | last/best | real data | examples/s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {_named(row.changes)} | {row.steps} | {len(row.seeds)} | {row.score} | {row.last:.4g} ± "
        f"{row.spread:.2g} | {row.by_first:.2f} | {row.last_by_best:.3g} | {row.reference:.3g} | "
        f"{row.samples_per_second:.0f} |"
        for row in rows
    ]
    return "\n".join(lines)


def _named(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_plain(value)}" for key, value in changes.items()) or "none (baseline)"


def _plain(value: Any) -> str:
    return "+".join(map(str, value)) or "none" if isinstance(value, tuple | list) else str(value)
