"""Runs side by side: what differs between them, how they score, and what it costs."""

import dataclasses
import json
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from training.config import Card
from training.record import METRICS
from training.score import FLOOR, by

CHOICES = ("data", "ema", "on_collapse", "score_samples")
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

    method: dict[str, Any]
    """Everything by which one method differs from another."""

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


def compare(runs: list[Path]) -> list[Row]:
    """Read finished runs and put them in rows, the best first, one for each method and number of steps.

    Raises:
        ValueError: a folder holds no run, or its run is not finished, or was not scored.
    """
    methods: dict[str, list[Card]] = {}
    for folder in runs:
        card = Card.read(folder)
        methods.setdefault(json.dumps([_method(card), card.run.steps], default=str), []).append(card)
    rows = [_row(cards) for cards in methods.values()]
    varying = _varying([row.method for row in rows])
    rows = [
        dataclasses.replace(row, method={key: row.method[key] for key in varying if key in row.method})
        for row in rows
    ]
    return sorted(rows, key=lambda row: (row.score, row.last))


def _method(card: Card) -> dict[str, Any]:
    run = {name: getattr(card.run, name) for name in CHOICES}
    return {"entry": card.name, **dataclasses.asdict(card.entry), **run}


def _varying(methods: list[dict[str, Any]]) -> list[str]:
    """Name what is not the same in all, in order."""
    names = dict.fromkeys(name for method in methods for name in method)
    return [name for name in names if any(method.get(name) != methods[0].get(name) for method in methods)]


def _row(cards: list[Card]) -> Row:
    scored = [_read(card) for card in cards]
    last = [run.last for run in scored]
    return Row(
        method=_method(cards[0]),
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
        "| method | steps | seeds | score | last | last/best | real data | examples/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {named(row.method)} | {row.steps} | {len(row.seeds)} | {row.score} | {row.last:.4g} ± "
        f"{row.spread:.2g} | {row.last_by_best:.3g} | {row.floor:.3g} | {row.samples_per_second:.0f} |"
        for row in rows
    ]
    return "\n".join(lines)


def named(method: Mapping[str, Any]) -> str:
    """Say by what a method differs from the others."""
    return ", ".join(f"{key} {_plain(value)}" for key, value in method.items()) or "the one method"


def _plain(value: Any) -> str:
    return "+".join(map(str, value)) or "none" if isinstance(value, tuple | list) else str(value)
