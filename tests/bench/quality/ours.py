"""Runs of our entries at a cost in CPU seconds: the steps of `ganzoo train`, with its defaults."""

import dataclasses
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serving.arrays import Array
from tests.bench.quality.course import PARTS, Course
from training.data.dataset import Dataset
from training.loop.autotune import autotune
from training.loop.data import open_run_data
from training.loop.distributed import SINGLE
from training.loop.state import TrainState
from training.run.config import RunConfig
from training.run.train_config import TrainConfig
from zoo import registry

TRIAL = 0.03
"""Share of the budget for the trial of how long a step takes."""

SPARE = 0.9
"""Share of the steps that the trial promises: those of a whole run take a little longer."""


def run(name: str, changes: dict[str, Any], data: str, size: int, seed: int, course: Course) -> TrainState:
    """Train an entry for the budget of the course, with scores; return the state at its end.

    Reading the pictures into memory is counted. The number of steps, which the schedule of the learning rate
    needs, comes from a trial that is not counted.
    """
    course.restart()
    entry = dataclasses.replace(registry.load(name)(), image_size=size, **changes)
    train = TrainConfig(data=data, seed=seed, device="cpu")
    config, loaded = open_run_data(RunConfig(name=name, entry=entry, train=train), SINGLE, Path("none"))
    config = autotune(config, SINGLE, loaded)
    with course.paused():
        steps = _affordable(config, loaded, course.budget, course.budget - course.spent)
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, steps=steps))
    state = TrainState(config)
    state.draw_preview(loaded)

    def draw(count: int) -> Iterator[Array]:
        return (some.values for some in state.pipeline.samples(range(count)))

    while not course.over:
        state.step(loaded)
        course.look(draw, state.done / steps)
    return state


def _affordable(config: RunConfig, data: Dataset, budget: float, left: float) -> int:
    """Return the number of steps that what is left of the budget allows on this machine."""
    state = TrainState(config)
    for _ in range(3):
        state.step(data)
    start = time.process_time()
    for count in itertools.count(1):
        state.step(data)
        if (spent := time.process_time() - start) > TRIAL * budget:
            return max(PARTS, int(SPARE * left * count / spent))
    raise AssertionError
