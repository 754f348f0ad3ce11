import pytest
import torch

from tests.conftest import STILL
from training.data.dataset import open_data
from zoo.models.translate.pix2pix import PairTrainer, Pix2Pix

SMALL = STILL | {"translator": "unet-32", "batch_size": 4}


def trainer(**fields: object) -> PairTrainer:
    torch.manual_seed(0)
    return Pix2Pix(**SMALL | fields).build()


def test_both_images_of_a_pair_are_cropped_alike():
    """A translator that is told the truth sees no distance, wherever the crop is."""
    game = trainer(resize=1.5, flip=True)
    told = []

    def tell(module, given, output):
        told.append(given[0])
        return given[0] + 0 * output

    game.translator.register_forward_hook(tell)
    images = torch.rand(4, 3, 48, 48) * 2 - 1
    scalars = game.step({"a": images, "b": images})
    assert scalars["distance"] == 0
    assert told[0].shape == (4, 3, 32, 32)


def test_a_direction_is_learnt_from_its_source():
    """The same batch with its domains exchanged is the other direction, to the bit."""
    images = {"a": torch.rand(4, 1, 32, 32) * 2 - 1, "b": torch.rand(4, 3, 32, 32) * 2 - 1}
    there = trainer(channels_a=1)
    back = trainer(direction="b2a", channels_b=1)
    assert (list(there.generators), list(back.generators)) == (["a2b"], ["b2a"])
    assert torch.equal(there.inputs(images)["a2b"]["image"], images["a"])
    seen = []
    for game, batch in ((there, images), (back, {"a": images["b"], "b": images["a"]})):
        torch.manual_seed(1)
        seen.append(game.step(batch))
    assert seen[0] == seen[1]
    weights = zip(there.translator.parameters(), back.translator.parameters(), strict=True)
    assert all(torch.equal(*both) for both in weights)


@pytest.mark.parametrize("objective", ["non_saturating", "least_squares"])
def test_it_learns_from_pairs(objective):
    game = trainer(objective=objective, learning_rate=1e-3)
    data = open_data("glyphs-pairs", (3, 32, 32), 0)
    distances = [game.step(data.batch(step, 4))["distance"].item() for step in range(60)]
    assert sum(distances[-5:]) < 0.3 * sum(distances[:5])


def test_without_the_distance_it_learns_less():
    """The control: the discriminator alone does not bring it so near the truth so soon."""
    data = open_data("glyphs-pairs", (3, 32, 32), 0)
    last = []
    for weight in (100.0, 0.0):
        game = trainer(distance_weight=weight, learning_rate=1e-3)
        last.append([game.step(data.batch(step, 4))["distance"].item() for step in range(60)][-1])
    assert last[0] < 0.7 * last[1]


def test_every_forward_is_computed_once():
    game = trainer()
    calls = []
    game.translator.register_forward_hook(lambda *_: calls.append("a2b"))
    game.discriminator.register_forward_hook(lambda *_: calls.append("discriminator"))
    game.step(open_data("glyphs-pairs", (3, 32, 32), 0).batch(0, 4))
    assert calls == ["a2b", "discriminator", "discriminator", "discriminator"]


@pytest.mark.parametrize(
    ("field", "value"), [("objective", "hinge"), ("direction", "b"), ("distance_weight", -1.0)]
)
def test_what_cannot_be_is_refused(field, value):
    with pytest.raises(ValueError, match=field):
        Pix2Pix(**{field: value})
