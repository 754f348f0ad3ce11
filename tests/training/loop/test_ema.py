import copy

import pytest
import torch
from torch import nn

from training.loop.ema import MovingAverage


def players() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"generator": nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))})


def test_it_follows_by_the_formula():
    live = players()
    average = MovingAverage(live, 0.5)
    expected = copy.deepcopy(live.generator[0].weight.detach())
    for step in range(10):
        with torch.no_grad():
            live.generator[0].weight += step
        average.update(live, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * live.generator[0].weight.detach()
    assert torch.allclose(average.generators.generator[0].weight, expected)


def test_buffers_are_copied_and_the_average_is_in_evaluation_mode():
    live = players()
    average = MovingAverage(live, 0.999)
    live.generator(torch.randn(8, 2))
    average.update(live, 0)
    mine, theirs = average.generators.generator[1], live.generator[1]
    assert torch.equal(mine.running_mean, theirs.running_mean)
    assert mine.num_batches_tracked == 1
    assert not mine.training
    assert theirs.training
    assert not any(parameter.requires_grad for parameter in average.generators.parameters())


@pytest.mark.parametrize("step", [0, 5, 10_000])
def test_no_decay_is_no_average(step):
    live = players()
    average = MovingAverage(live, 0.0)
    with torch.no_grad():
        live.generator[0].weight.normal_()
    average.update(live, step)
    assert torch.equal(average.generators.generator[0].weight, live.generator[0].weight)
