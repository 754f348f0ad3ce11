import pytest
import torch
from torch import nn

from zoo.models.translate.srresnet import SRResNet
from zoo.super_resolution import DIRECTION, PixelTrainer, SuperResolutionEntry

SMALL = {"scale": 2, "image_size": 24, "crop_size": 16, "width": 4, "blocks": 1, "channels": 3}


def test_crops_are_flipped_and_turned_in_eight_ways():
    entry = SRResNet(**SMALL | {"channels": 1, "image_size": 2, "crop_size": 2})
    image = torch.arange(4.0).reshape(1, 1, 2, 2)
    torch.manual_seed(0)
    seen = {tuple(entry.crop(image).flatten().tolist()) for _ in range(200)}
    assert len(seen) == 8
    plain = SRResNet(**SMALL | {"channels": 1, "image_size": 2, "crop_size": 2, "flip": False})
    assert {tuple(plain.crop(image).flatten().tolist()) for _ in range(50)} == {(0.0, 1.0, 2.0, 3.0)}


def test_a_generator_learns_to_enlarge_what_was_reduced():
    """A generator of one number: with the true brightness, the distance is least."""

    class Brightness(nn.Module):
        def __init__(self):
            super().__init__()
            self.change = nn.Parameter(torch.tensor(0.5))

        def forward(self, image):
            return nn.functional.interpolate(image, scale_factor=2) + self.change

    class Entry(SuperResolutionEntry):
        def make_generator(self):
            return Brightness()

        def build(self, device="cpu"):
            return PixelTrainer(self, device)

    trainer = Entry(**SMALL, learning_rate=0.05).build()
    batch = {"real": (torch.rand(4, 3, 1, 1) - 0.5).expand(4, 3, 24, 24)}
    first = trainer.step(batch)["distance"]
    for _ in range(30):
        last = trainer.step(batch)["distance"]
    assert trainer.generator.change.abs() < 0.1
    assert last < 0.2 * first
    assert trainer.inputs(batch)[DIRECTION]["image"].shape == (4, 3, 12, 12)


def test_the_channels_are_those_of_the_data_and_must_be_known():
    with pytest.raises(ValueError, match="channels must be set"):
        SRResNet(**SMALL | {"channels": 0}).build()
    assert SRResNet(**SMALL | {"channels": 0}).for_data(channels=1).sample_shape == (1, 24, 24)


@pytest.mark.parametrize(
    "field",
    [{"scale": 3}, {"image_size": 25}, {"crop_size": 15}, {"crop_size": 26}, {"blocks": 0}, {"channels": -1}],
)
def test_impossible_fields_are_refused(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        SRResNet(**SMALL | field)
