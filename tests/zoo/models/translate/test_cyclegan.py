"""CycleGAN: the pool, the step, what is computed and what is not, and unpaired learning with its controls."""

import pytest
import torch

from tests.conftest import STILL
from training.data.dataset import open_data
from training.data.styled_glyphs import restyle
from training.evaluation.metrics import best_recolouring
from zoo.models.translate.cyclegan import CycleGAN, CycleTrainer, ImagePool

SMALL = STILL | {"translator": "resnet-6"}


def batch(step: int = 0, size: int = 2):
    return open_data("glyphs-style", (3, 32, 32), 0).batch(step, size)


def trainer(**fields: object) -> CycleTrainer:
    torch.manual_seed(0)
    return CycleGAN(**SMALL | fields).build()


def test_the_pool_gives_back_former_fakes_half_of_the_time():
    torch.manual_seed(0)
    pool = ImagePool(50)
    first = torch.arange(50.0).reshape(50, 1, 1, 1)
    assert torch.equal(pool.exchange(first), first), "until it is full it gives what it gets"
    later = torch.arange(50.0, 1050).reshape(1000, 1, 1, 1)
    shown = pool.exchange(later)
    assert shown.shape == later.shape
    assert 420 < (shown != later).sum() < 580
    assert len(pool.images) == 50
    everything = torch.cat([shown.flatten(), torch.cat(pool.images).flatten()])
    assert sorted(everything.tolist()) == list(range(1050)), "nothing is lost and nothing twice"


def test_a_pool_of_nothing_gives_what_it_gets():
    fakes = torch.randn(3, 1, 2, 2)
    assert torch.equal(ImagePool(0).exchange(fakes), fakes)


@pytest.mark.parametrize(("weight", "grey", "forwards"), [(5.0, 3, 3), (0.0, 3, 2), (5.0, 1, 2)])
def test_every_forward_is_computed_once(weight, grey, forwards):
    """A translator's are its fake, the way back, and the identity, if it has a weight and equal channels."""
    game = trainer(identity_weight=weight, channels_a=grey)
    calls = {"a2b": 0, "b2a": 0, "a": 0, "b": 0}

    def counted(name):
        def count(*_):
            calls[name] += 1

        return count

    for players in (game.generators, game.discriminators):
        for name, player in players.items():
            player.register_forward_hook(counted(name))
    game.step(open_data("glyphs-style", game.entry.sample_shape, 0).batch(0, 2))
    assert calls == {"a2b": forwards, "b2a": forwards, "a": 3, "b": 3}


def test_discriminators_learn_nothing_from_the_translators_update():
    """What the generators' loss leaves in them must not leak into their own update."""
    game = trainer()
    a, b = batch()["a"], batch()["b"]
    game._update_generators(a, b, game.b2a(b), game.a2b(a))
    assert all(parameter.grad is None for parameter in game.discriminators.parameters())
    assert all(parameter.requires_grad for parameter in game.discriminators.parameters())
    assert all(parameter.grad is not None for parameter in game.generators.parameters())


@pytest.mark.parametrize("channels", [3, 1])
def test_the_pools_are_part_of_the_state(channels):
    game = trainer(pool_size=3, channels_a=channels)
    for step in range(3):
        given = batch(step)
        game.step(given | {"a": given["a"][:, :channels]})
    other = trainer(pool_size=3, channels_a=channels)
    other.load_state_dict(game.state_dict())
    for mine, theirs in ((game.pool_a, other.pool_a), (game.pool_b, other.pool_b)):
        assert len(mine.images) == 3
        assert all(map(torch.equal, mine.images, theirs.images))


def test_the_learning_rate_falls_in_the_second_half():
    rates = [CycleGAN().learning_rate_at(progress) for progress in (0, 0.25, 0.5, 0.75, 1)]
    assert rates == [1, 1, 1, 0.5, 0]


@pytest.mark.parametrize("field", ["cycle_weight", "identity_weight", "pool_size"])
def test_negative_weights_are_refused(field):
    with pytest.raises(ValueError, match=field):
        CycleGAN(**{field: -1})
    with pytest.raises(ValueError, match=field):
        CycleGAN(**{field: float("nan")})


def distances(game: CycleTrainer, steps: int) -> tuple[float, float]:
    """Train; give the distance to the hidden truth, of both directions together, and that of recolouring."""
    data = open_data("glyphs-style", (3, 32, 32), 0)
    for step in range(steps):
        game.step(data.batch(step, 4))
    pairs = data.held_out().batch(0, 64)
    a, b = ((pairs[domain] + 1) / 2 for domain in "ab")
    with torch.no_grad():
        made = {"b": (game.a2b(pairs["a"]) + 1) / 2, "a": (game.b2a(pairs["b"]) + 1) / 2}
    translated = (made["b"] - b).abs().mean() + (made["a"] - a).abs().mean()
    recoloured = [(best_recolouring([ends])(ends[0]) - ends[1]).abs().mean() for ends in ((a, b), (b, a))]
    return translated.item(), sum(recoloured).item()


@pytest.mark.slow
def test_it_learns_a_hidden_translation_without_pairs():
    """Nearer to the truth than any change of colours alone: stripes or lean are found too."""
    translated, recoloured = distances(trainer(identity_weight=0.0, learning_rate=1e-3), 300)
    assert translated < recoloured


@pytest.mark.slow
def test_without_the_discriminators_it_does_not(monkeypatch):
    """The control: where every image is judged alike, the cycle alone says nothing of the style."""
    monkeypatch.setattr(
        "zoo.models.translate.cyclegan.least_squares", lambda scores, target: 0 * scores.sum()
    )
    translated, recoloured = distances(trainer(identity_weight=0.0, learning_rate=1e-3), 100)
    assert translated > 2 * recoloured


def test_the_truth_is_the_style():
    pairs = open_data("glyphs-style", (3, 32, 32), 0).held_out().batch(0, 5)
    assert torch.equal(restyle(pairs["a"]), pairs["b"])
    unpaired = batch(0, 5)
    assert not torch.equal(restyle(unpaired["a"]), unpaired["b"]), "what trains is not paired"


@pytest.mark.gpu
def test_a_step_is_deterministic_on_cuda():
    """No operation of it is one that torch refuses where determinism is asked for; two runs are equal."""
    ends = []
    for _ in range(2):
        torch.manual_seed(0)
        game = CycleGAN(**SMALL).build("cuda")
        torch.use_deterministic_algorithms(True)
        try:
            for step in range(3):
                game.step({name: images.cuda() for name, images in batch(step).items()})
        finally:
            torch.use_deterministic_algorithms(False)
        ends.append([parameter.cpu() for parameter in game.generators.parameters()])
    assert all(map(torch.equal, *ends))
