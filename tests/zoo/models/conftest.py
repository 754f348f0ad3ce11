import pytest
import torch

from zoo.efficientnet import Network


@pytest.fixture(scope="module")
def weights():
    """Weights of the pretrained network, at random, and with statistics."""
    torch.manual_seed(0)
    network = Network()
    for _ in range(30):
        network(torch.randn(8, 3, 64, 64))
    return network.state_dict()
