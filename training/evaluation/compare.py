"""Runs side by side: what differs between them, how they score, and what it costs."""

import dataclasses
import json
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from training.evaluation.validator import FLOOR, by
from training.run.config import Card
from training.run.logger import METRICS

CHOICES = ("data", "precision", "sync_batch_norm", "ema", "on_collapse", "score_samples")
"""Fields of a run that are a choice of method; the entry's are all."""


class Scored(NamedTuple):
    """What a run's record says of its scores."""

    name: str
    last: float
    best: float
    floor: float
    samples_per_second: float


@dataclasses.dataclass(frozen=True)
class Row:
    """Runs of one method, over their seeds."""

    changes: dict[str, Any]
    """Everything by which its method differs from that of the first run."""

    seeds: list[int]
    steps: int
    score: str
    """Name of the score, lower the better."""

    last: float
    """Mean over the seeds of the last score."""

    spread: float
    """Standard deviation of the last score over the seeds; 0 for one."""

    last_by_best: float
    """The last score by the best, at worst over the seeds."""

    floor: float
    """The score of held-out real data."""

    samples_per_second: float
    """Examples that the run learned from in a second, the median."""

    by_first: float = 1.0
    """The last score by that of the first run's row."""


def compare(runs: list[Path]) -> list[Row]:
    """Read finished runs and put them in rows, the best first, one for each method and number of steps.

    The first run's method is what the others are described by, and its row what they are measured by.

    Raises:
        ValueError: a folder holds no run, or its run is not finished, or was not scored.
    """
    cards = [Card.read(folder) for folder in runs]
    methods: dict[str, list[Card]] = {}
    for card in cards:
        methods.setdefault(json.dumps([_method(card), card.run.steps], default=str), []).append(card)
    rows = [_row(together, _method(cards[0])) for together in methods.values()]
    first = rows[0]
    rows = [dataclasses.replace(row, by_first=by(row.last, first.last)) for row in rows]
    return sorted(rows, key=lambda row: (row.score, row.last))


def _method(card: Card) -> dict[str, Any]:
    run = {name: getattr(card.run, name) for name in CHOICES}
    return {"entry": card.name, **dataclasses.asdict(card.entry), **run}


def _row(cards: list[Card], first: dict[str, Any]) -> Row:
    scored = [_read(card) for card in cards]
    last = [run.last for run in scored]
    return Row(
        changes={key: value for key, value in _method(cards[0]).items() if first.get(key, value) != value},
        seeds=sorted(card.run.seed for card in cards),
        steps=cards[0].run.steps,
        score=scored[0].name,
        last=statistics.mean(last),
        spread=statistics.stdev(last) if len(last) > 1 else 0.0,
        last_by_best=max(by(run.last, run.best) for run in scored),
        floor=statistics.mean(run.floor for run in scored),
        samples_per_second=statistics.median(run.samples_per_second for run in scored),
    )


def _read(card: Card) -> Scored:
    folder = card.folder
    lines = [json.loads(line) for line in (folder / METRICS).read_text(encoding="utf-8").splitlines()]
    if not lines or lines[-1]["step"] < card.run.steps:
        raise ValueError(f"{folder} is not finished: train it to its {card.run.steps} steps first")
    floors = [(key, line) for line in lines for key in line if key.endswith(FLOOR)]
    if not floors:
        raise ValueError(f"{folder} has no scores; train with --score-every")
    floor, _ = floors[-1]
    name = floor.removesuffix(FLOOR)
    values = [line[name] for line in lines if name in line]
    rates = [line["samples_per_second"] for line in lines if "samples_per_second" in line]
    return Scored(name, values[-1], min(values), floors[-1][1][floor], statistics.median(rates))


def table(rows: Iterable[Row]) -> str:
    """Lay rows out as a Markdown table."""
    lines = [
        "| changes | steps | seeds | score | last | by the first | last/best | real data | examples/s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {_named(row.changes)} | {row.steps} | {len(row.seeds)} | {row.score} | {row.last:.4g} ± "
        f"{row.spread:.2g} | {row.by_first:.2f} | {row.last_by_best:.3g} | {row.floor:.3g} | "
        f"{row.samples_per_second:.0f} |"
        for row in rows
    ]
    return "\n".join(lines)


def _named(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_plain(value)}" for key, value in changes.items()) or "none (the first)"


def _plain(value: Any) -> str:
    return "+".join(map(str, value)) or "none" if isinstance(value, tuple | list) else str(value)
