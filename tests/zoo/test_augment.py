import pytest
import torch
from torch import nn

from zoo.adversarial import TransformName
from zoo.augment import TRANSFORMS, Augmented, colour, cutout, flip, translation


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def images(size: int = 256) -> torch.Tensor:
    return torch.rand(size, 3, 16, 24) + 0.5


def test_every_transform_has_a_flag():
    assert set(TRANSFORMS) == set(TransformName.__args__)


@pytest.mark.parametrize("transform", TRANSFORMS.values())
def test_shapes_stay_gradients_flow_and_every_image_has_its_own_draw(transform):
    one = images(1).expand(64, -1, -1, -1).clone().requires_grad_(True)
    out = transform(one)
    assert out.shape == one.shape
    assert len(out.detach().flatten(1).unique(dim=0)) > 1
    out.sum().backward()
    assert torch.isfinite(one.grad).all()
    assert one.grad.abs().sum() > 0


def test_flip_mirrors_about_half():
    original = images()
    out = flip(original)
    mirrored = (out == original.flip(3)).flatten(1).all(1)
    assert ((out == original).flatten(1).all(1) ^ mirrored).all()
    assert 0.35 < mirrored.float().mean() < 0.65


def test_translation_moves_what_is_there():
    dot = torch.zeros(400, 1, 16, 24)
    dot[:, :, 8, 12] = 1
    rows, columns = translation(dot).nonzero()[:, 2:].unbind(1)
    assert len(rows) == 400, "nothing is lost or doubled away from the edge"
    assert set((rows - 8).tolist()) == set(range(-2, 3))
    assert set((columns - 12).tolist()) == set(range(-3, 4))


def test_translation_brings_in_mid_grey():
    out = translation(images())
    assert (out == 0).any()
    assert ((out == 0) | (out >= 0.5)).all()


def test_cutout_hides_up_to_a_quarter():
    out = cutout(images())
    hidden = (out == 0).float().mean((1, 2, 3))
    assert hidden.min() > 0
    assert hidden.max() == pytest.approx(0.25)
    assert ((out == 0) == (out[:, :1] == 0)).all(), "in every channel alike"


def test_colour_changes_brightness_saturation_and_contrast_and_no_place():
    flat = torch.full((256, 3, 4, 4), 0.2)
    out = colour(flat)
    assert (out.flatten(1).std(1) < 1e-6).all()
    assert out.std() > 0.2
    grey = images()[:, :1].expand(-1, 3, -1, -1)
    coloured = colour(grey)
    assert torch.allclose(coloured[:, 0], coloured[:, 2], atol=1e-5), "grey stays grey"


def test_no_transform_is_the_discriminator_itself():
    discriminator, batch = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 24, 1)), images(4)
    assert torch.equal(Augmented(discriminator, ())(batch), discriminator(batch))


def test_transforms_follow_each_other():
    seen = []

    class Spy(nn.Module):
        def forward(self, batch):
            seen.append(batch)
            return batch.flatten(1)[:, :1]

    Augmented(Spy(), ("colour", "cutout"))(images(4))
    (batch,) = seen
    assert (batch == 0).any()
