import pytest
import torch
from torch import nn

from training.watch import PATIENCE, Diverged, Watch


@pytest.mark.parametrize("stern", [True, False])
def test_numbers_that_are_none_are_never_let_through(stern):
    watch = Watch(stern)
    watch.losses(1, {"loss": 1.0})
    with pytest.raises(Diverged, match="loss is nan at step 2") as found:
        watch.losses(2, {"loss": float("nan")})
    assert found.value.onset == 1
    player = nn.ModuleDict({"generator": nn.Linear(2, 2)})
    watch.weights(3, player)
    with torch.no_grad():
        player["generator"].weight.fill_(float("inf"))
    with pytest.raises(Diverged, match=r"generator\.weight is not finite"):
        watch.weights(4, player)


def test_a_discriminator_that_stays_sure_is_told_once(capsys):
    watch = Watch(stern=False)
    for step in range(3 * PATIENCE):
        watch.losses(step, {"saturation": 0.999})
    said = capsys.readouterr().err
    assert said.count("saturated") == 1
    assert "--regularizer r1" in said
    assert f"step {PATIENCE - 1}" in said


def test_a_discriminator_that_is_sure_now_and_then_is_well(capsys):
    """The control: what happens in any healthy run is no trouble."""
    watch = Watch(stern=True)
    for step in range(5 * PATIENCE):
        watch.losses(step, {"saturation": 0.999 if step % PATIENCE else 0.7})
    watch.losses(0, {"a_loss_alone": 0.0})
    assert not capsys.readouterr().err


def test_sternly_the_onset_is_where_it_began():
    watch = Watch(stern=True)
    with pytest.raises(Diverged, match="saturated") as found:
        watch.losses(40, {"saturation": 0.5})
        for step in range(50, 50 + PATIENCE):
            watch.losses(step, {"saturation": 0.99})
    assert found.value.onset == 40, "the last step at which it was not yet"


def test_samples_that_grow_alike_have_lost_their_diversity(capsys):
    watch, spread = Watch(stern=False), torch.randn(64, 1, 4, 4)
    watch.samples(10, 0.01 * spread)
    watch.samples(20, spread)
    watch.samples(30, 0.5 * spread + 0.5)
    assert not capsys.readouterr().err
    watch.samples(40, 0.1 * spread)
    assert "diversity" in capsys.readouterr().err
    stern = Watch(stern=True)
    stern.samples(20, spread)
    with pytest.raises(Diverged) as found:
        stern.samples(40, 0.1 * spread)
    assert found.value.onset == 20


def test_a_score_far_from_its_best_is_told(capsys):
    watch = Watch(stern=False)
    watch.score(20, [(10, 30.0), (20, 55.0)], floor=2.0)
    watch.score(20, [(10, 0.1), (20, 3.0)], floor=2.0)
    assert not capsys.readouterr().err, "less than twice the best, or near the floor"
    watch.score(30, [(10, 30.0), (20, 20.0), (30, 41.0)], floor=2.0)
    assert "twice its best" in capsys.readouterr().err
    with pytest.raises(Diverged) as found:
        Watch(stern=True).score(30, [(10, 30.0), (20, 20.0), (30, 41.0)], floor=2.0)
    assert found.value.onset == 20
