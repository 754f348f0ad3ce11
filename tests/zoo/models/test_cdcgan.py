import dataclasses

import pytest
import torch

from zoo.models.cdcgan import CDCGAN

SMALL = CDCGAN(image_size=16, channels=1, width=4, latent_size=6, classes=3, label_size=5, batch_size=8)


def batch() -> dict[str, torch.Tensor]:
    return {"real": torch.rand(8, 1, 16, 16) * 2 - 1, "label": torch.arange(8) % 3}


def test_both_players_are_told_the_class_and_it_changes_what_they_say():
    torch.manual_seed(0)
    trainer = SMALL.build()
    trainer.generator.eval()
    latent, image = torch.randn(1, 6).expand(3, -1), torch.rand(1, 1, 16, 16).expand(3, -1, -1, -1)
    label = torch.arange(3)
    images = trainer.generator(latent, label=label)
    assert images.shape == (3, 1, 16, 16)
    assert not torch.allclose(images[0], images[1], atol=1e-4)
    scores = trainer.discriminator(image, label=label)
    assert scores.shape == (3, 1)
    assert scores.unique().numel() == 3


def test_fakes_are_judged_with_the_labels_they_were_drawn_with():
    entry = dataclasses.replace(SMALL, objective="non_saturating", regularizer="none")
    trainer, seen = entry.build(), []
    discriminator = trainer.discriminator.discriminator
    discriminator.register_forward_hook(
        lambda module, inputs, named, scores: seen.append(named["label"].tolist()), with_kwargs=True
    )
    trainer.step(batch())
    assert seen == [[0, 1, 2, 0, 1, 2, 0, 1]] * 3, "real, fake, and the generator's step"


def test_labels_are_part_of_the_probe_and_of_every_remedy():
    inputs = SMALL.build().inputs(batch())["generator"]
    assert set(inputs) == {"latent", "label"}
    fields = {"discriminator_norm": "none", "spectral_norm": True, "augment": ("translation",)}
    for regularizer in ("gradient_penalty", "r1+r2"):
        entry = CDCGAN(
            image_size=16, channels=1, width=4, batch_size=4, classes=3, regularizer=regularizer,
            discriminator_steps=2, **fields,
        )  # fmt: skip
        trainer = entry.build()
        assert torch.isfinite(trainer.step(batch())["penalty"])


def test_spectral_norm_keeps_the_label_plane_as_large_as_a_pixel():
    entry = CDCGAN(
        image_size=32, channels=3, width=4, classes=10, discriminator_norm="none", spectral_norm=True
    )
    body, planes = entry.build().discriminator.discriminator, []
    body.body.register_forward_pre_hook(lambda module, given: planes.append(given[0][:, -1]))
    body(torch.zeros(10, 3, 32, 32), label=torch.arange(10))
    assert planes[0].square().mean().sqrt().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("field", [{"classes": -1}, {"label_size": 0}, {"image_size": 20}])
def test_impossible_sizes_are_refused(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        CDCGAN(**field)
