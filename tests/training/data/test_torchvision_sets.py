import subprocess

import numpy as np
import pytest
import torch
from torchvision import datasets

from training.data.dataset import open_data
from training.data.validate import validate


@pytest.fixture(scope="module")
def mnist(real_data, tmp_path_factory):
    root = tmp_path_factory.mktemp("mnist")
    subprocess.run([real_data / "unpack-mnist", root], check=True)
    return root


def test_mnist_as_torchvision_lays_it_out(mnist):
    data = open_data(f"mnist:{mnist}", (1, 32, 32), 0)
    assert data.real.shape == (60_000, 1, 32, 32)
    assert data.real.dtype == torch.uint8
    assert len(data.labels) == 10
    assert data.label[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.name == "mnist", "no path of this machine"
    assert data.licence == "CC-BY-SA-3.0"
    held_out = data.held_out()
    assert held_out.real.shape == (10_000, 1, 32, 32)
    assert held_out.label[:5].tolist() == [7, 2, 1, 0, 4]


def test_its_classes_are_counted(mnist):
    findings = validate(f"mnist:{mnist}")
    assert (findings.examples, findings.held_out) == ({"all": 60_000}, {"others": 10_000})
    assert findings.classes["0 - zero"] == 5923
    assert sum(findings.classes.values()) == 60_000


def test_cifar10_lays_its_channels_and_labels_out_otherwise(tmp_path, monkeypatch):
    """Its arrays are NHWC and its targets no tensor, as torchvision documents them."""

    class Stored:
        data = np.arange(2 * 32 * 32 * 3, dtype=np.uint8).reshape(2, 32, 32, 3)
        targets = (3, 9)
        classes = tuple(map(str, range(10)))

        def __init__(self, root, train, download):
            assert train
            assert download

    monkeypatch.setattr(datasets, "CIFAR10", Stored)
    data = open_data(f"cifar10:{tmp_path}", (3, 32, 32), 0)
    assert np.array_equal(data.real.numpy(), Stored.data.transpose(0, 3, 1, 2))
    assert data.label.tolist() == [3, 9]


def test_missing_data_that_cannot_be_downloaded_are_said_to_be_missing(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(OSError, match="mnist is not in"):
        open_data(f"mnist:{tmp_path}", (1, 28, 28), 0)
