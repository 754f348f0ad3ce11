import pytest
import torch

from zoo.efficientnet import MAPS, Network, fuse


@pytest.mark.parametrize("size", [32, 64, 96])
def test_the_maps_are_of_a_quarter_to_a_thirty_second_of_the_size(size):
    maps = Network().eval().maps(torch.randn(2, 3, size, size))
    sizes = [size // reduction for reduction in (4, 8, 16, 32)]
    assert [tuple(each.shape) for each in maps] == [
        (2, width, side, side) for width, side in zip(MAPS, sizes, strict=True)
    ]


def test_the_last_map_is_what_the_features_are_made_of():
    network, images = Network().eval(), torch.randn(2, 3, 64, 64)
    last = network.maps(images)[-1]
    for layer in list(network)[-4:]:
        last = layer(last)
    assert last.shape == (2, 1280)
    assert torch.equal(last, network(images))


def test_the_fused_network_differs_by_rounding_and_has_no_normalisation():
    torch.manual_seed(0)
    network, images = Network(), torch.randn(4, 3, 64, 64)
    network(images)  # changes the statistics
    before = network.eval()(images)
    fuse(network)
    assert torch.allclose(network(images), before, atol=1e-4)
    assert not [each for each in network.modules() if isinstance(each, torch.nn.BatchNorm2d)]
