import dataclasses
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch

from training.loop.compute import find_device
from training.run.config import Card, Run, software
from zoo.models.dcgan import DCGAN


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("keep", 0),
        ("log_every", -1),
        ("ema", 1.0),
        ("ema", -0.1),
        ("seed", -1),
        ("seed", 2**53),
        ("score_every", -1),
        ("score_samples", 0),
        ("on_collapse", "despair"),
    ],
)
def test_impossible_decisions_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        Run(**{field: value})


def test_a_card_comes_back_as_it_was(tmp_path):
    card = Card(name="dcgan", entry=DCGAN(width=8), run=Run(out=tmp_path, ema=0.5), licence="MIT")
    card.write()
    assert Card.read(tmp_path) == card
    assert Card.read(tmp_path).differences(card) == []


def test_differences_are_those_that_matter(tmp_path):
    card = Card(name="dcgan", entry=DCGAN(), run=Run(out=tmp_path))
    longer = dataclasses.replace(card, run=Run(out=tmp_path, steps=9, log_every=1, device="cpu"))
    other = dataclasses.replace(card, entry=DCGAN(width=8), run=Run(out=tmp_path, data="mnist"))
    assert card.differences(longer) == []
    assert card.differences(other) == ["data: mnist there, glyphs here", "width: 8 there, 64 here"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text[:-5], "is damaged"),
        (lambda text: text.replace('"width"', '"girth"'), "another version: .*girth"),
        (lambda text: text.replace('"software"', '"hardware"'), "another version: .*software"),
    ],
)
def test_a_card_that_cannot_be_read_is_named(change, said, tmp_path):
    Card(name="dcgan", entry=DCGAN(), run=Run(out=tmp_path)).write()
    path = tmp_path / "run.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=rf"run\.json.*{said}"):
        Card.read(tmp_path)


def test_no_git_and_no_package_are_no_obstacle(monkeypatch):
    def missing(*arguments, **options):
        raise FileNotFoundError("git")

    monkeypatch.setattr("subprocess.run", missing)
    assert software()["commit"] == "unknown"

    def not_installed(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("training.run.config.version", not_installed)
    assert software()["gan-zoo"] == "unknown"


@pytest.mark.parametrize(
    ("name", "data", "folder"),
    [
        ("dcgan", "mnist:/data", "runs/dcgan-mnist"),
        ("my_lab.wgan:WGAN", "glyphs", "runs/my_lab.wgan-WGAN-glyphs"),
    ],
)
def test_a_run_has_a_folder_without_being_told(name, data, folder):
    assert Card(name=name, entry=DCGAN(), run=Run(data=data)).folder == Path(folder)


def test_devices():
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("abacus", "cuda:99"):
        with pytest.raises(ValueError, match=name):
            find_device(name)
