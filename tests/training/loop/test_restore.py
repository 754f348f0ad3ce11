"""Checkpoints with a right hash and wrong content are refused with one error, or can be used."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from serving.errors import UserError
from training.data.dataset import open_data
from training.data.loader import open_loader
from training.loop.state import TrainState
from training.run import checkpoint
from training.run.config import RunConfig

VALUES = (None, "x", -1, 1e308, [], {}, True, 10**30, torch.zeros(3, 2, 1))


def other_tensors(value: torch.Tensor) -> Iterator[torch.Tensor]:
    yield torch.zeros(0, dtype=value.dtype)
    yield value.to(torch.complex64)
    yield value.to(torch.float64 if value.dtype == torch.int64 else torch.int64)
    yield value[:1] if value.ndim else value.repeat(2)
    if not value.is_floating_point():
        yield torch.full_like(value, 100)


def changed(value: Any) -> Iterator[Any]:
    """Copies of a state with one part that is of another kind or shape, missing, or new."""
    yield from VALUES
    match value:
        case torch.Tensor():
            yield from other_tensors(value)
        case dict():
            yield {**value, "new": 1}
            for key in value:
                yield {name: part for name, part in value.items() if name != key}
                yield from ({**value, key: part} for part in changed(value[key]))
        case list():
            yield from (value[:-1], [*value, 0])
            for place, part in enumerate(value):
                yield from ([*value[:place], other, *value[place + 1 :]] for other in changed(part))


@pytest.mark.parametrize(("run", "count"), [("points", 400), ("classes", 150), ("styles", 60)])
def test_a_state_that_is_not_the_runs_is_refused_or_does_no_harm(run, count, runs):
    """Some of all changes, the same ones every time; the parts of optimizers are the most."""
    config = RunConfig.read(runs / run)
    done, sound = checkpoint.load(runs / run / "checkpoints")
    states = list(changed(sound))
    parts = [
        {**sound, key: part} for key in ("optimizers", "trainer", "probe") for part in changed(sound[key])
    ]
    chance, refused = random.Random(0), 0
    data = open_data(config.train.data, config.entry.sample_shape, config.train.seed)
    with open_loader(data, torch.device("cpu"), 0) as batches:
        for saved in [*chance.sample(states, count // 2), *chance.sample(parts, count // 2)]:
            state = TrainState(config)
            try:
                state.load_state_dict(done, saved)
            except UserError as error:
                assert f"the checkpoint of step {done} in {runs / run / 'checkpoints'} can't be" in str(error)
                refused += 1
                continue
            state.step(batches)
            state.look()
    assert 0.5 < refused / count < 1


@pytest.mark.parametrize("run", ["points", "classes", "styles", "pairs", "pictures"])
def test_the_runs_own_state_is_taken(run, runs):
    """The control; torch's random state is the saved one, whatever was tried."""
    done, sound = checkpoint.load(runs / run / "checkpoints")
    TrainState(RunConfig.read(runs / run)).load_state_dict(done, sound)
    assert torch.equal(torch.get_rng_state(), sound["random"]["cpu"])
