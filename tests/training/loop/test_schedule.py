import dataclasses
from pathlib import Path

import pytest

from tests.conftest import small_config
from training.loop.schedule import describe_change, describe_end, factor_at
from training.run.config import RunConfig


def config(schedule: str = "linear", **run: object) -> RunConfig:
    made = small_config("mlp-gan", Path("runs"), **run)
    return dataclasses.replace(made, entry=dataclasses.replace(made.entry, schedule=schedule))


def test_a_schedule_is_as_long_as_the_run_or_as_said():
    assert factor_at(config(steps=40), 30) == 0.25
    assert factor_at(config(steps=40, schedule_steps=400), 30) == pytest.approx(0.925)


@pytest.mark.parametrize(("schedule", "last"), [("linear", 0), ("cosine", 0), ("constant", 1)])
def test_after_its_end_a_schedule_stays(schedule, last):
    short = config(schedule, steps=400, schedule_steps=40)
    assert [factor_at(short, step) for step in (40, 41, 399)] == pytest.approx([last] * 3)


def test_a_longer_run_is_said_to_raise_the_rates():
    said = describe_change(config(steps=400), config(steps=40), 30)
    assert said == (
        "the schedule has 400 steps instead of 40, so that at step 30 the learning rates rise from 25% to "
        "92.5% of their full value; --schedule-steps 40 keeps the earlier schedule"
    )
    at_its_end = describe_change(config(steps=400), config(steps=40), 40)
    assert "rise from 0% to 90%" in at_its_end
    assert "keeps" not in at_its_end, "nothing is left of it"
    assert "fall from 92.5% to 25%" in describe_change(config(steps=40), config(steps=400), 30)


def test_what_goes_on_as_before_needs_no_word():
    assert describe_change(config(steps=40), config(steps=40), 30) is None
    assert describe_change(config("constant", steps=400), config("constant", steps=40), 30) is None
    kept = config(steps=400, schedule_steps=40)
    assert describe_change(kept, config(steps=40), 30) is None


def test_a_schedule_that_ends_early_is_said_so():
    said = describe_end(config(steps=400, schedule_steps=40))
    assert said == (
        "the schedule ends at step 40 of 400; from there on, the learning rates are 0% of their full value"
    )
    assert describe_end(config(steps=40)) is None
    assert describe_end(config(steps=40, schedule_steps=400)) is None
    assert describe_end(config("constant", steps=400, schedule_steps=40)) is None
