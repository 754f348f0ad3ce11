"""Runs of our entries at a cost in CPU seconds: the steps of `ganzoo train`, with its defaults."""

import dataclasses
from pathlib import Path
from typing import Any

from tests.bench.course import Course
from training.loop.autotune import autotune
from training.loop.data import open_run_data
from training.loop.distributed import SINGLE
from training.loop.state import TrainState
from training.run.config import RunConfig
from training.run.train_config import TrainConfig
from zoo import registry


def run(name: str, fields: dict[str, Any], data: str, seed: int, course: Course) -> TrainState:
    """Train an entry for the budget of the course, with scores; return the state at its end.

    Reading the pictures into memory and choosing the precision are counted. The schedule of the learning rate
    ends with the budget: its number of steps follows from the CPU seconds of the steps so far.

    Args:
        name: name of the entry.
        fields: fields of the entry that are not its defaults.
        data: the dataset, as for `ganzoo train`.
        seed: seed of the run.
        course: the budget and the scores.
    """
    course.restart()
    train = TrainConfig(data=data, seed=seed, device="cpu")
    config = RunConfig(name=name, entry=registry.load(name)(**fields), train=train)
    config, loaded = open_run_data(config, SINGLE, Path("none"))
    config = autotune(config, SINGLE, loaded)
    state, begin = TrainState(config), course.spent
    state.draw_preview(loaded)
    while not course.over:
        state.step(loaded)
        affordable = state.done * (course.budget - begin) / (course.spent - begin)
        steps = max(state.done + 1, round(affordable))
        state.config = dataclasses.replace(config, train=dataclasses.replace(config.train, steps=steps))
        course.look(state.pipeline)
    return state
