"""Progress of long work: a bar with rate and time left on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

Advance = Callable[..., None]
"""Function to call after a unit of work, or with a number of units, and with scalars to show by name."""


@contextmanager
def progress(total: int, label: str, unit: str, done: int = 0, every: float = 10.0) -> Iterator[Advance]:
    """Show progress on standard error while the block runs, and yield the function that advances it.

    Args:
        total: number of units of work.
        label: short name of the work.
        unit: name of the units, in the plural.
        done: units that an earlier run has completed.
        every: seconds between lines if standard error is not a terminal.
    """
    if sys.stderr.isatty():
        with tqdm(total=total, desc=label, unit=f" {unit}", initial=done, dynamic_ncols=True) as bar:
            yield lambda count=1, **scalars: _advance_bar(bar, count, scalars)
    else:
        yield _Lines(total, label, unit, done, every).advance


def _advance_bar(bar: Any, count: int, scalars: dict[str, float]) -> None:
    if scalars:
        bar.set_postfix({name: f"{value:.3g}" for name, value in scalars.items()}, refresh=False)
    bar.update(count)


class _Lines:
    def __init__(self, total: int, label: str, unit: str, done: int, every: float) -> None:
        self.total, self.label, self.unit, self.done, self.every = total, label, unit, done, every
        self.first, self.start = done, time.monotonic()
        self.last = self.start

    def advance(self, count: int = 1, **scalars: float) -> None:
        self.done += count
        now = time.monotonic()
        if now - self.last < self.every and self.done < self.total:
            return
        self.last = now
        rate = (self.done - self.first) / max(now - self.start, 1e-9)
        left = (self.total - self.done) / rate
        shown = "".join(f" {name}={value:.3g}" for name, value in scalars.items())
        line = f"{self.label}: {self.done}/{self.total} {self.unit}, {rate:.3g}/s, {left:.0f} s left{shown}"
        print(line, file=sys.stderr, flush=True)
