"""The scores of a run, read from its metrics: which one is the best, and when to stop."""

import sys
from pathlib import Path
from typing import NamedTuple

from training.run.logger import read_metrics

REFERENCE = "_reference"
"""Suffix of the name under which a score's reference is logged."""

SUFFIXES = (REFERENCE, "_floor")
"""Suffixes of the logged reference. The second is that of runs of older versions."""


class Score(NamedTuple):
    """A score of the averaged generators at a step."""

    step: int
    value: float


class Scores(NamedTuple):
    """Scores of a run in the order of their steps, at least one. Lower is better."""

    name: str
    reference: float
    """Score of real data."""

    history: list[Score]

    @property
    def last(self) -> Score:
        """Last score."""
        return self.history[-1]

    @property
    def best(self) -> Score:
        """Best score, the first of equal ones."""
        return min(self.history, key=lambda score: score.value)

    def exhaust(self, patience: int) -> bool:
        """Return whether so many scores in a row, the last ones, were not better than the best before them.

        A patience of 0 is never exhausted.
        """
        return 0 < patience < len(self.history) - self.history.index(self.best)


def read_scores(run: Path, latest: int = sys.maxsize) -> Scores | None:
    """Return the scores of a run up to the step `latest`, or None if it has none.

    Raises:
        UserError: a line of the metrics is damaged.
        OSError: the metrics can't be read.
    """
    lines = [line for line in read_metrics(run) if line["step"] <= latest]
    references = [(name, line[name]) for line in lines for name in line if name.endswith(SUFFIXES)]
    if not references:
        return None
    logged, reference = references[-1]
    name = logged.rpartition("_")[0]
    history = [Score(int(line["step"]), line[name]) for line in lines if name in line]
    return Scores(name, reference, history) if history else None
