import sys
import types

import pytest
import torch
from torch import nn

from serving.system.folders import writable_or_temporary
from training.data.dataset import open_data
from training.evaluation import features
from training.evaluation.features import Classifier, Inception, open_extractor

SHAPE = (1, 16, 16)
CPU = torch.device("cpu")


@pytest.fixture
def short(monkeypatch, tmp_path):
    """A short training of the classifier, kept in a folder of the test's own."""
    monkeypatch.setattr(features, "STEPS", 60)
    monkeypatch.setattr(features, "TEST", 500)
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path))
    return tmp_path


def test_the_classifier_learns_is_kept_and_is_the_same_again(short, monkeypatch):
    data = open_data("glyphs:OX", SHAPE, 0)
    state = torch.get_rng_state()
    first = Classifier.of(data, SHAPE, CPU)
    assert torch.equal(torch.get_rng_state(), state), "scoring does not disturb a training"
    assert first.describe()["accuracy"] > 0.95
    assert len(list(short.rglob("*.safetensors"))) == 1

    monkeypatch.setattr(features, "_train", lambda *arguments: pytest.fail("it is trained already"))
    again = Classifier.of(data, SHAPE, CPU)
    assert again.describe() == first.describe()
    images = torch.randint(0, 256, (5, *SHAPE), dtype=torch.uint8)
    assert torch.equal(first(images).features, again(images).features)
    assert first(images).features.shape == (5, 128)
    assert set(first(images).classes.tolist()) <= {0, 1}


def test_trained_anew_it_is_the_same(short, monkeypatch):
    data = open_data("glyphs:OX", SHAPE, 0)
    first = Classifier.of(data, SHAPE, CPU).describe()["sha256"]
    monkeypatch.setenv("GANZOO_CACHE", str(short / "elsewhere"))
    assert Classifier.of(data, SHAPE, CPU).describe()["sha256"] == first


def test_a_damaged_one_is_not_used(short):
    data = open_data("glyphs:OX", SHAPE, 0)
    Classifier.of(data, SHAPE, CPU)
    (file,) = short.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with pytest.raises(ValueError, match="damaged"):
        Classifier.of(data, SHAPE, CPU)


@pytest.fixture
def no_home(monkeypatch, tmp_path):
    """A home directory in which not even root can write; temporary folders are in the test's own."""
    for name in ("GANZOO_CACHE", "XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/proc")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("torch.hub._hub_dir", None)
    writable_or_temporary.cache_clear()
    yield tmp_path
    writable_or_temporary.cache_clear()


def test_without_a_home_it_is_kept_in_a_temporary_folder_with_one_warning(
    short, no_home, monkeypatch, capsys
):
    data = open_data("glyphs:OX", SHAPE, 0)
    Classifier.of(data, SHAPE, CPU)
    monkeypatch.setattr(features, "_train", lambda *arguments: pytest.fail("it is trained already"))
    Classifier.of(data, SHAPE, CPU)
    assert len(list(no_home.rglob("*.safetensors"))) == 1
    assert capsys.readouterr().err.count("warning: ~/.cache/gan-zoo can't be written") == 1


@pytest.mark.parametrize("place", ["/proc/cache", "/dev/null/cache"])
def test_a_chosen_cache_that_cannot_be_written_is_named_before_the_training(place, monkeypatch):
    monkeypatch.setenv("GANZOO_CACHE", place)
    monkeypatch.setattr(features, "_train", lambda *arguments: pytest.fail("it is trained"))
    with pytest.raises(OSError, match=place):
        Classifier.of(open_data("glyphs:OX", SHAPE, 0), SHAPE, CPU)


def test_without_labels_there_is_no_classifier(tmp_path):
    points = open_data("gaussian2d", (2,), 0)
    for name, error in (("classifier", "labelled images"), ("psychic", "features must be")):
        with pytest.raises(ValueError, match=error):
            open_extractor(name, points, (2,), CPU)


def test_inception_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(ValueError, match=r"gan-zoo\[inception\]"):
        Inception(CPU)


class StandIn(nn.Module):
    """Takes what torch-fidelity's network takes, uint8 RGB, and gives what it gives: a tuple of features."""

    def __init__(self, name: str, wanted: list[str]) -> None:
        super().__init__()
        assert (name, wanted) == ("inception-v3-compat", ["2048"])
        self.weight = nn.Parameter(torch.ones(3, 4))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        assert images.dtype == torch.uint8
        assert images.shape[1] == 3
        return (images.float().mean((2, 3)) @ self.weight,)


@pytest.fixture
def stand_in(monkeypatch):
    """The weights of Inception are not to be had offline: a network of the same ends takes its place."""
    module = types.ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = StandIn
    monkeypatch.setitem(sys.modules, "torch_fidelity", types.ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_inception_sees_grey_as_colour_and_tells_no_classes(stand_in):
    extractor = open_extractor("inception", open_data("glyphs", SHAPE, 0), SHAPE, CPU)
    seen = extractor(torch.full((2, 1, 16, 16), 9, dtype=torch.uint8))
    assert seen.features.tolist() == [[27.0] * 4] * 2
    assert seen.classes is None
    assert extractor.describe()["name"] == "inception"


def test_without_a_home_inceptions_weights_go_to_a_temporary_folder(stand_in, no_home, capsys):
    Inception(CPU)
    assert torch.hub.get_dir().startswith(str(no_home))
    assert capsys.readouterr().err.startswith("warning: /proc/.cache/torch/hub can't be written")
