"""CUT: patches and their places, the loss against its formula, and what learns from what."""

import pytest
import torch
from torch import nn

from tests.conftest import STILL
from training.data.dataset import open_data
from zoo.models.translate.cut import CUT, FastCUT, Heads, patch_nce
from zoo.translators import ResNet

SMALL = STILL | {"translator": "resnet-6"}


def batch(step: int = 0, size: int = 2):
    return open_data("glyphs-style", (3, 32, 32), 0).batch(step, size)


def count(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def test_as_many_parameters_as_the_authors_have():
    trainer = CUT().build()
    assert count(trainer.translator) == 11_378_179
    assert count(trainer.discriminator) == 2_764_737
    assert count(trainer.heads) == 560_384, "the heads have none of the translator's"


def test_the_loss_is_that_of_the_paper():
    """The positive against the negatives of the same image, by loops; negatives of other images are none."""
    torch.manual_seed(0)
    queries, keys = (nn.functional.normalize(torch.randn(2, 5, 7), dim=2) for _ in range(2))
    terms = []
    for image in range(2):
        for place in range(5):
            similar = torch.stack([queries[image, place] @ key / 0.07 for key in keys[image]])
            terms.append(similar.logsumexp(0) - similar[place])
    assert patch_nce(queries, keys, 0.07) == pytest.approx(float(torch.stack(terms).mean()), rel=1e-5)
    assert patch_nce(keys, keys, 0.07) < 0.1 < patch_nce(keys.roll(1, 1), keys, 0.07)


@pytest.mark.parametrize("upsample", ["transposed", "antialiased"])
def test_features_are_the_image_two_convolutions_and_two_blocks(upsample):
    translator = ResNet(3, 3, 4, 9, upsample)
    image = torch.randn(2, 3, 32, 24)
    maps = translator.features(image)
    assert torch.equal(maps[0], image)
    assert [each.shape[1] for each in maps] == [3, 8, 16, 16, 16]
    assert [tuple(each.shape[2:]) for each in maps] == [
        (32 // tap.factor, 24 // tap.factor) for tap in translator.taps
    ]
    kinds = [type(translator.layers[tap.layer - 1]).__name__ for tap in translator.taps[1:]]
    assert kinds == ["Conv2d", "Conv2d", "Residual", "Residual"]
    after = translator.layers[translator.taps[-1].layer :](maps[-1])
    assert torch.equal(after, translator(image)), "the rest of the layers translates the last of them"


def test_places_are_different_and_those_of_mirrored_images_are_the_same_patches():
    torch.manual_seed(0)
    heads, images = Heads(ResNet(3, 3, 4, 6), 30), torch.randn(2, 3, 32, 24)
    places = heads.draw_places(images)
    assert torch.equal(places[0], places[1])
    parts = heads.by_map(places[0][None], images)
    assert [each.shape[1] for each in parts] == [30] * 5
    assert all(len(each.unique()) == each.shape[1] for each in parts)
    assert parts[0].max() > 12 * 16, "the first map is the largest"
    mirrored = heads.mirror(places, images)
    for maps, place, other in zip(
        heads.features(images), heads.by_map(places, images), heads.by_map(mirrored, images), strict=True
    ):
        seen, same = (
            listed.flatten(2).gather(2, each[:, None].expand(-1, maps.shape[1], -1))
            for listed, each in ((maps.flip(3), place), (maps, other))
        )
        assert torch.equal(seen, same)
    assert not torch.equal(mirrored, places)


def test_of_small_maps_all_patches_are_taken():
    heads, images = Heads(ResNet(3, 3, 4, 6), 256), torch.randn(1, 3, 32, 24)
    parts = heads.by_map(heads.draw_places(images), images)
    assert [each.shape[1] for each in parts] == [256, 192, 48, 48, 48]
    vectors = heads(images, heads.draw_places(images))
    assert vectors.shape == (1, 256 + 192 + 3 * 48, 256)
    assert torch.allclose(vectors.norm(dim=2), torch.ones(()), atol=1e-5)


def test_keys_teach_nothing():
    """Translations are moved towards their images, and never the other way."""
    trainer = CUT(**SMALL).build()
    images, translated = (batch()[domain].requires_grad_(True) for domain in ("a", "b"))
    trainer._contrast(images, translated, mirrored=False).backward()
    assert images.grad is None
    assert translated.grad.abs().max() > 0
    assert all(weight.grad.abs().max() > 0 for weight in trainer.heads.parameters() if weight.ndim > 1)


@pytest.mark.parametrize(("kind", "forwards"), [(CUT, [(4, 3, 32, 32)]), (FastCUT, [(2, 3, 32, 32)])])
def test_only_cut_translates_the_target_too(kind, forwards):
    trainer, seen = kind(**SMALL).build(), []
    trainer.translator.register_forward_hook(lambda _, given, __: seen.append(tuple(given[0].shape)))
    before = [weight.clone() for weight in trainer.heads.parameters()]
    scalars = trainer.step(batch())
    assert seen == forwards
    assert all(torch.isfinite(value) for value in scalars.values())
    assert any(not torch.equal(*pair) for pair in zip(before, trainer.heads.parameters(), strict=True))


def test_fastcut_translates_mirrored_images_half_of_the_time():
    torch.manual_seed(0)
    trainer, seen = FastCUT(**SMALL | {"width": 4, "discriminator_width": 4}).build(), []
    trainer.translator.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    image = batch()
    for _ in range(30):
        trainer.step(image)
    mirrored = sum(torch.equal(each, image["a"].flip(3)) for each in seen)
    assert 8 <= mirrored <= 22
    assert sum(torch.equal(each, image["a"]) for each in seen) == 30 - mirrored


def test_the_other_direction():
    trainer = CUT(**SMALL, direction="b2a").build()
    assert list(trainer.generators) == ["b2a"]
    assert torch.equal(trainer.inputs(batch())["b2a"]["image"], batch()["b"])


def test_the_rates_decay_in_the_last_half_or_quarter():
    assert [CUT().learning_rate_at(at) for at in (0, 0.5, 0.75, 1)] == [1, 1, 0.5, 0]
    assert [FastCUT().learning_rate_at(at) for at in (0, 0.5, 0.75, 0.875, 1)] == [1, 1, 1, 0.5, 0]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"translator": "unet-32"}, "translator"),
        ({"channels_a": 1}, "channels_a and channels_b must be equal, .* got 1 and 3"),
        ({"nce_patches": 0}, "nce_patches"),
        ({"nce_temperature": 0.0}, "nce_temperature"),
        ({"nce_weight": -1.0}, "nce_weight"),
    ],
)
def test_impossible_fields_are_refused(fields, named):
    with pytest.raises(ValueError, match=named):
        CUT(**SMALL | fields)


def test_grey_images():
    trainer = FastCUT(**SMALL, channels_a=1, channels_b=1).build()
    grey = {domain: images[:, :1] for domain, images in batch().items()}
    assert all(torch.isfinite(value) for value in trainer.step(grey).values())
