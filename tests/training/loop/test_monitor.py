import dataclasses

import pytest
import torch
from torch import nn

from training.loop.monitor import PATIENCE, Diverged, Monitor, must_be_finite
from training.run.train_config import TrainConfig

CALM = TrainConfig(log_every=1, checkpoint_every=10)
STERN = dataclasses.replace(CALM, on_collapse="rollback")


def test_numbers_that_are_none_are_never_let_through():
    must_be_finite(1, {"loss": 1.0})
    with pytest.raises(Diverged, match="loss is nan at step 2") as found:
        must_be_finite(2, {"loss": float("nan")})
    assert found.value.onset == 1


@pytest.mark.parametrize("part", ["weight", "running_var"])
def test_weights_and_statistics_that_are_none_are_neither(part):
    player = nn.ModuleDict({"generator": nn.BatchNorm1d(2)})
    must_be_finite(3, {}, player)
    with torch.no_grad():
        getattr(player["generator"], part).fill_(float("inf"))
    with pytest.raises(Diverged, match=rf"generator\.{part} is not finite"):
        must_be_finite(4, {}, player)


def test_a_discriminator_that_stays_sure_is_told_once(capsys):
    watch = Monitor(CALM)
    for step in range(3 * PATIENCE):
        watch.losses(step, {"saturation": 0.999})
    said = capsys.readouterr().err
    assert said.count("saturated") == 1
    assert "--regularizer r1" in said
    assert f"step {PATIENCE - 1}" in said


def test_a_discriminator_that_is_sure_now_and_then_is_well(capsys):
    """The control: what happens in any healthy run is no trouble."""
    watch = Monitor(STERN)
    for step in range(5 * PATIENCE):
        watch.losses(step, {"saturation": 0.999 if step % PATIENCE else 0.7})
    watch.losses(0, {"a_loss_alone": 0.0})
    assert not capsys.readouterr().err


def test_sternly_the_onset_is_where_it_began():
    watch = Monitor(STERN)
    with pytest.raises(Diverged, match="saturated") as found:
        watch.losses(40, {"saturation": 0.5})
        for step in range(50, 50 + PATIENCE):
            watch.losses(step, {"saturation": 0.99})
    assert found.value.onset == 40, "the last step at which it was not yet"


def test_samples_that_grow_alike_have_lost_their_diversity(capsys):
    watch, spread = Monitor(CALM), torch.randn(64, 1, 4, 4)
    watch.samples(10, 0.01 * spread)
    watch.samples(20, spread)
    watch.samples(30, 0.5 * spread + 0.5)
    assert not capsys.readouterr().err
    watch.samples(40, 0.1 * spread)
    assert "diversity" in capsys.readouterr().err
    stern = Monitor(STERN)
    stern.samples(20, spread)
    with pytest.raises(Diverged) as found:
        stern.samples(40, 0.1 * spread)
    assert found.value.onset == 20


def test_a_score_far_from_its_best_is_told(capsys):
    watch = Monitor(CALM)
    watch.score(20, [(10, 30.0), (20, 55.0)], reference=2.0)
    watch.score(20, [(10, 0.1), (20, 3.0)], reference=2.0)
    assert not capsys.readouterr().err, "less than twice the best, or near the floor"
    watch.score(30, [(10, 30.0), (20, 20.0), (30, 41.0)], reference=2.0)
    assert "twice its best" in capsys.readouterr().err
    with pytest.raises(Diverged) as found:
        Monitor(STERN).score(30, [(10, 30.0), (20, 20.0), (30, 41.0)], reference=2.0)
    assert found.value.onset == 20


def test_what_an_interruption_shows_is_not_looked_at():
    """Else a run would see something else than the same run without it."""
    watch = Monitor(dataclasses.replace(STERN, log_every=50))
    before = watch.state_dict()
    for step in range(51, 99):
        watch.losses(step, {"saturation": 1.0})
        watch.samples(step, torch.randn(4, 2)) if step % 10 else None
    assert watch.state_dict() == before
    watch.losses(100, {"saturation": 1.0})
    assert watch.state_dict() != before
    other = Monitor(CALM)
    other.load_state_dict(watch.state_dict())
    assert other.state_dict() == watch.state_dict()
