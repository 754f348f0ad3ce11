"""The reach of a graph: no window needs more margin than it says, and windows with less differ."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from serving.runtime.sessions import open_session
from training.graphs.reach import reach
from training.graphs.trace import only, trace


class Positive(nn.Module):
    """Layers whose weights are all positive, so that every pixel in reach counts."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, 0.5, 1.0)

    def forward(self, image):
        return torch.tanh(self.body(image + 1) * 1e-3)


class Doubled(nn.Module):
    def __init__(self, **how) -> None:
        super().__init__()
        self.how = how

    def forward(self, maps):
        return nn.functional.interpolate(maps, scale_factor=2.0, **self.how)


CASES = {
    "at one size": (
        [
            nn.ReflectionPad2d(3),
            nn.Conv2d(3, 3, 7),
            nn.ReLU(),
            nn.Conv2d(3, 3, 3, padding=4, dilation=4),
            nn.MaxPool2d(3, 1, 1),
            nn.AvgPool2d(5, 1, 2),
        ],
        1,
        3 + 4 + 1 + 2,
    ),
    "halved and doubled": (
        [nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, padding=1), nn.ConvTranspose2d(4, 3, 4, 2, 1)],
        2,
        None,
    ),
    "doubled thrice": (
        [
            *(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2)),
            *(Doubled(mode="nearest"), nn.Conv2d(3, 3, 3, padding=1)),
            *(Doubled(mode="bilinear"), nn.Conv2d(3, 3, 3, padding=1)),
        ],
        1,
        None,
    ),
}


def graph_of(module: nn.Module, multiple: int) -> onnx.ModelProto:
    return only(
        trace(module.eval(), {"image": torch.zeros(2, 16, 24, 3, dtype=torch.uint8)}, multiple), "output"
    )


@pytest.mark.parametrize("name", CASES)
def test_no_pixel_beyond_it_counts(name):
    layers, multiple, exactly = CASES[name]
    module = Positive(*layers)
    found = reach(graph_of(module, multiple))
    assert found is not None
    image = torch.zeros(1, 3, 64, 64)
    spread = 0
    for row in range(28, 28 + 2 * multiple):
        changed = image.clone()
        changed[:, :, row, 32] = 1
        with torch.no_grad():
            differs = (module(changed) != module(image)).any(1)[0].any(1).nonzero().flatten()
        scale = module(image).shape[2] // 64
        spread = max(spread, int((row - differs // scale).max()), int((differs // scale - row).max()))
    assert spread <= found <= 2 * spread + 4
    assert exactly in (None, found)


def test_windows_need_it():
    module = Positive(nn.Conv2d(3, 3, 5, padding=2), nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1))
    model = graph_of(module, 1)
    session = open_session(model.SerializeToString(), "cpu")
    draws = np.random.default_rng(0)
    image = draws.integers(0, 256, (1, 40, 40, 3), dtype=np.uint8)

    def by_window(margin: int) -> np.ndarray:
        return session.run(None, {"image": image[:, 16 - margin : 24 + margin]})[0][:, margin : margin + 8]

    (whole,) = session.run(None, {"image": image})
    found = reach(model)
    assert np.array_equal(by_window(found), whole[:, 16:24])
    assert not np.array_equal(by_window(found - 1), whole[:, 16:24]), "the control"


def test_what_sees_all_of_the_image_has_none():
    class Global(nn.Module):
        def forward(self, image):
            return image - image.mean((2, 3), keepdim=True)

    assert reach(graph_of(Global(), 1)) is None


def test_normalisation_is_a_function_of_each_pixel():
    module = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.InstanceNorm2d(3, affine=True), nn.Tanh())
    module.forward = lambda image: nn.Sequential.forward(module, image)
    assert reach(graph_of(module, 1)) == 1
