import dataclasses
import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch

from serving.system.version import version
from training.loop.compute import device_named
from training.run.config import RunConfig
from training.run.software import software
from training.run.train_config import TrainConfig
from zoo.models.dcgan import DCGAN
from zoo.models.translate.pix2pix import Pix2Pix


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("keep_checkpoints", 0),
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
        TrainConfig(**{field: value})


def test_a_card_comes_back_as_it_was(tmp_path):
    config = RunConfig(
        name="dcgan", entry=DCGAN(width=8), train=TrainConfig(out=tmp_path, ema=0.5), licence="MIT"
    )
    config.write()
    assert RunConfig.read(tmp_path) == config
    assert RunConfig.read(tmp_path).differences(config) == []


def test_a_config_of_before_is_read(tmp_path):
    """With the names that its fields had."""
    config = RunConfig(name="dcgan", entry=DCGAN(), train=TrainConfig(out=tmp_path, keep_checkpoints=7))
    config.write()
    path = tmp_path / "run.json"
    path.write_text(path.read_text().replace('"keep_checkpoints": 7', '"keep": 7'))
    assert RunConfig.read(tmp_path) == config


def test_a_config_without_a_precision_is_of_a_run_in_fp32(tmp_path):
    RunConfig(name="dcgan", entry=DCGAN(), train=TrainConfig(out=tmp_path)).write()
    path = tmp_path / "run.json"
    content = json.loads(path.read_text())
    assert content["run"].pop("precision") == "auto"
    path.write_text(json.dumps(content))
    assert RunConfig.read(tmp_path).train.precision == "fp32"


def test_the_precision_auto_is_that_of_the_run(tmp_path):
    auto, low, full = (
        RunConfig(name="dcgan", entry=DCGAN(), train=TrainConfig(out=tmp_path, **named))
        for named in ({}, {"precision": "bf16"}, {"precision": "fp32"})
    )
    assert auto.differences(low) == auto.differences(full) == []
    assert full.differences(low) == ["precision is bf16 in its run.json; got fp32"]
    assert low.computed("fp32", "auto") == low
    assert auto.computed("bf16", "auto") == low


def test_an_older_run_has_a_penalty_in_every_update(tmp_path):
    config = RunConfig(name="dcgan", entry=DCGAN(), train=TrainConfig(out=tmp_path))
    assert config.entry.regularizer_interval == 4
    config.write()
    path = tmp_path / "run.json"
    content = json.loads(path.read_text())
    del content["hyperparameters"]["regularizer_interval"]
    path.write_text(json.dumps(content))
    assert RunConfig.read(tmp_path).entry.regularizer_interval == 1


def test_one_number_of_channels_of_before_is_that_of_both_domains(tmp_path):
    entry = Pix2Pix(channels_a=1, channels_b=1)
    config = RunConfig(name="pix2pix", entry=entry, train=TrainConfig(out=tmp_path))
    config.write()
    path = tmp_path / "run.json"
    content = json.loads(path.read_text())
    former = content["hyperparameters"]
    del former["channels_a"], former["channels_b"], former["direction"]
    path.write_text(json.dumps(content | {"hyperparameters": former | {"channels": 1}}))
    assert RunConfig.read(tmp_path) == config
    assert RunConfig.read(tmp_path).differences(config) == []


def test_differences_are_those_that_matter(tmp_path):
    config = RunConfig(name="dcgan", entry=DCGAN(), train=TrainConfig(out=tmp_path))
    longer = dataclasses.replace(config, train=TrainConfig(out=tmp_path, steps=9, log_every=1, device="cpu"))
    other = dataclasses.replace(config, entry=DCGAN(width=8), train=TrainConfig(out=tmp_path, data="mnist"))
    assert config.differences(longer) == []
    assert config.differences(other) == [
        "data is mnist in its run.json; got glyphs",
        "width is 8 in its run.json; got 32",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text[:-5], "is damaged or of an incompatible version: the content must be valid JSON"),
        (lambda text: "", "must be valid JSON"),
        (lambda text: "[]", "must be an object; got a list"),
        (lambda text: "[" * 100_000, "must be valid JSON"),
        (lambda text: text.replace('"width"', '"girth"'), "'hyperparameters.girth' is not a known field"),
        (lambda text: text.replace('"software"', '"hardware"'), "software is required"),
        (
            lambda text: text.replace('"width": 32', '"width": "32"'),
            "hyperparameters.width' must be a valid int",
        ),
        (
            lambda text: text.replace('"width": 32', '"width": -1'),
            "hyperparameters is not valid: width must be",
        ),
        (lambda text: text.replace('"steps": 5000', '"steps": null'), "run.steps' must be a valid integer"),
        (lambda text: text.replace('"entry": "dcgan"', '"entry": "3"'), "there is no entry '3'"),
        (lambda text: text.replace('"entry": "dcgan"', '"entry": ".x:y"'), "can't be imported"),
        (
            lambda text: text.replace('"entry": "dcgan"', '"entry": null'),
            "entry must be a valid string; got None",
        ),
    ],
)
def test_a_card_that_cannot_be_read_is_named(change, said, tmp_path):
    RunConfig(name="dcgan", entry=DCGAN(), train=TrainConfig(out=tmp_path)).write()
    path = tmp_path / "run.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=rf"run\.json.*{said}"):
        RunConfig.read(tmp_path)


def test_no_git_and_no_package_are_no_obstacle(monkeypatch):
    def missing(*arguments, **options):
        raise FileNotFoundError("git")

    monkeypatch.setattr("subprocess.run", missing)
    assert software()["commit"] == "unknown"

    def not_installed(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", not_installed)
    version.cache_clear()
    assert software()["gan-zoo"] == "unknown"
    version.cache_clear()


@pytest.mark.parametrize(
    ("name", "data", "folder"),
    [
        ("dcgan", "mnist:/data", "runs/dcgan-mnist"),
        ("my_lab.wgan:WGAN", "glyphs", "runs/my_lab.wgan-WGAN-glyphs"),
    ],
)
def test_a_run_has_a_folder_without_being_told(name, data, folder):
    assert RunConfig(name=name, entry=DCGAN(), train=TrainConfig(data=data)).folder == Path(folder)


def test_devices():
    assert device_named("cpu") == torch.device("cpu")
    assert device_named("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("abacus", "cuda:99"):
        with pytest.raises(ValueError, match=name):
            device_named(name)
