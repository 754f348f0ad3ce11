import sys

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet as Published

from training.evaluation import efficientnet
from training.evaluation.efficientnet import EfficientNet, load_network, prepare, read_weights

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def published():
    network = Published.from_name("efficientnet-lite0").eval()
    network.load_state_dict(read_weights())
    return network


@pytest.mark.parametrize("side", [96, 128])
def test_the_network_is_the_published_one_to_the_bit(side, published):
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = load_network()(images), published.extract_features(images).mean((2, 3))
    assert ours.abs().max() > 1
    assert torch.equal(ours, theirs)


def test_the_folded_network_differs_by_rounding(published):
    images = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8)
    seen = EfficientNet(CPU)(images)
    assert (seen.features.shape, seen.classes) == ((40, 1280), None)
    with torch.no_grad():
        theirs = published.extract_features(prepare(images)).mean((2, 3))
    assert torch.allclose(seen.features, theirs, atol=1e-4)


def test_grey_images_are_seen_as_grey_colours():
    grey = torch.randint(0, 256, (2, 1, 20, 24), dtype=torch.uint8)
    extractor = EfficientNet(CPU)
    assert torch.allclose(extractor(grey).features, extractor(grey.expand(-1, 3, -1, -1)).features, atol=1e-5)


def test_images_of_other_sizes_are_resized_without_aliases():
    """The control: columns of black and white become grey, where every other pixel alone would be black."""
    stripes = torch.tensor([0, 255], dtype=torch.uint8).repeat(192).expand(1, 1, 384, 384)
    assert prepare(stripes).abs().max() < 0.1
    assert stripes[..., ::4].float().sub(127).abs().max() > 100


def test_a_wrong_or_missing_file_of_weights_is_named_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(efficientnet, "files", lambda package: tmp_path)
    with pytest.raises(ValueError, match="can't be read: No such file") as missing:
        load_network()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / efficientnet.WEIGHTS).write_bytes(b"other weights")
    with pytest.raises(ValueError, match=r"the SHA-256 of .*\.pth must be 5793.*; got .*again") as wrong:
        load_network()
    assert "\n" not in str(missing.value) + str(wrong.value)


def test_without_its_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, efficientnet.PACKAGE, None)
    with pytest.raises(ValueError, match=r"gan-zoo\[train\]"):
        load_network()
