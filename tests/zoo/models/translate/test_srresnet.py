import pytest
import torch
from torch.nn import functional as F

from zoo.models.translate.srresnet import Generator, SRResNet

SMALL = {"image_size": 32, "crop_size": 32, "width": 8, "blocks": 2, "channels": 3, "batch_size": 4}


@pytest.mark.parametrize(("scale", "channels", "size"), [(2, 3, (5, 7)), (4, 1, (1, 1)), (8, 3, (3, 2))])
def test_any_size_is_enlarged(scale, channels, size):
    generator = Generator(SRResNet(**SMALL | {"scale": scale, "channels": channels})).eval()
    enlarged = generator(torch.randn(2, channels, *size))
    assert enlarged.shape == (2, channels, scale * size[0], scale * size[1])


def test_the_networks_have_the_papers_size():
    """16 blocks of two convolutions of 64 channels, one after them, and 9x9 at both ends (Ledig, fig. 4)."""
    generator = Generator(SRResNet(channels=3))
    convolutions = sum(p.numel() for p in generator.parameters() if p.dim() == 4)
    assert convolutions == 9 * 64 * 64 * (2 * 16 + 1 + 2) + 2 * 81 * 3 * 64


def test_it_learns_more_than_to_repeat_pixels():
    """Slopes, which repeated pixels turn into steps."""
    torch.manual_seed(0)
    slope = torch.linspace(-1, 1, 32).expand(4, 3, 32, 32)
    trainer = SRResNet(**SMALL, scale=2, learning_rate=2e-3).build()
    distances = [trainer.step({"real": slope})["distance"].item() for _ in range(60)]
    small = F.avg_pool2d(slope, 2)
    steps = (F.interpolate(small, scale_factor=2) - slope).abs().mean().item()
    assert sum(distances[-5:]) / 5 < 0.7 * steps
