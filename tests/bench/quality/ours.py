"""Runs of our entries at a cost in CPU seconds: the steps of `ganzoo train`, with its defaults."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serving.arrays import Array
from tests.bench.quality.course import Course
from training.loop.autotune import autotune
from training.loop.data import open_run_data
from training.loop.distributed import SINGLE
from training.loop.state import TrainState
from training.run.config import RunConfig
from training.run.train_config import TrainConfig
from zoo import registry


def run(name: str, changes: dict[str, Any], data: str, size: int, seed: int, course: Course) -> TrainState:
    """Train an entry for the budget of the course, with scores; return the state at its end.

    Reading the pictures into memory and choosing the precision are counted. The schedule of the learning rate
    ends with the budget: its number of steps follows from the CPU seconds of the steps so far.
    """
    course.restart()
    entry = dataclasses.replace(registry.load(name)(), image_size=size, **changes)
    train = TrainConfig(data=data, seed=seed, device="cpu")
    config, loaded = open_run_data(RunConfig(name=name, entry=entry, train=train), SINGLE, Path("none"))
    config = autotune(config, SINGLE, loaded)
    state, begin = TrainState(config), course.spent
    state.draw_preview(loaded)

    def draw(count: int) -> Iterator[Array]:
        return (some.values for some in state.pipeline.samples(range(count)))

    while not course.over:
        state.step(loaded)
        affordable = state.done * (course.budget - begin) / (course.spent - begin)
        steps = max(state.done + 1, round(affordable))
        state.config = dataclasses.replace(config, train=dataclasses.replace(config.train, steps=steps))
        course.look(draw)
    return state
