"""Public training scripts, executed until their budget is spent."""

import contextlib
import io
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from serving.runtime.pipeline import Pipeline
from tests.bench.course import Course

Names = dict[str, Any]
"""The names of a script: what it defines."""


def clone_of(clones: Path, repository: str) -> Path:
    """Return the clone of a repository, which has the last part of its name, in a folder of clones."""
    return clones.resolve() / repository.rpartition("/")[2]


class Spent(BaseException):  # not an Exception, which a script may catch
    """The budget is spent."""


def execute(script: Path, arguments: list[str], names: Names) -> None:
    """Execute a script as its authors' command does; its names go into `names`."""
    with mock.patch.object(sys, "argv", [str(script), *arguments]):
        exec(compile(script.read_text(), str(script), "exec"), names)


def follow(
    start: Callable[[Names], None], pipeline: Callable[[Names], Pipeline], seed: int, course: Course
) -> int:
    """Run a script for the budget of a course, with scores; return the number of optimizer updates.

    Args:
        start: function that starts the training. What it trains must be among the names that it is given.
        pipeline: function of these names to the model as it is now.
        seed: seed of the random numbers before the start.
        course: the budget and the scores.
    """
    names: Names = {"__name__": "__main__"}
    updates = 0

    def updated(*_: object) -> None:
        nonlocal updates
        updates += 1
        course.look(pipeline(names))
        if course.over:
            raise Spent

    for plant in (torch.manual_seed, np.random.seed, random.seed):
        plant(seed)
    with _elsewhere(), contextlib.redirect_stdout(io.StringIO()):
        hook = register_optimizer_step_post_hook(updated)
        course.restart()
        with contextlib.suppress(Spent):
            start(names)
        hook.remove()
    return updates


@contextmanager
def _elsewhere() -> Iterator[None]:
    """Work in a new folder, two levels deep: scripts write beside and above the working folder."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "of", "script")
        folder.mkdir(parents=True)
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)
