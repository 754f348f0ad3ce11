import pytest
import torch

from training import mixtures
from training.data import open_data


@pytest.mark.parametrize(
    ("spec", "modes", "deviation"),
    [("ring8", mixtures.RING8_MODES, 0.008), ("grid25", mixtures.GRID25_MODES, 0.01)],
)
def test_every_mode_is_there_with_its_deviation(spec, modes, deviation):
    data = open_data(spec, (2,), 0)
    offsets = data.real - modes[data.label]
    assert offsets.std().item() == pytest.approx(deviation, rel=0.02)
    share = torch.bincount(data.label) / len(data)
    assert share.min() > 0.8 / len(modes)
    assert len(data.labels) == len(modes) == len(share)
    assert data.real.abs().max() < 1, "within the range of tanh"


def test_the_ring_is_round_and_the_grid_square():
    assert torch.allclose(mixtures.RING8_MODES.norm(dim=1), torch.tensor(0.8))
    assert len(mixtures.RING8_MODES) == 8
    assert mixtures.GRID25_MODES.unique(dim=0).shape == (25, 2)
