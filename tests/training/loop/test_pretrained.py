"""Pretrained networks in discriminators: handed in for training, the same after a resume, never the judge."""

import dataclasses
import json

import pytest
import torch
from PIL import Image

from serving.runtime.artifact import read_manifest
from tests.conftest import small_config
from training.artifacts.evaluate import evaluate
from training.artifacts.export import export
from training.data.dataset import open_data
from training.evaluation import features
from training.evaluation.efficientnet import load_network
from training.evaluation.validator import open_validator
from training.graphs.pixels import to_pixels
from training.loop.pretrained import load_pretrained
from training.loop.state import TrainState
from training.loop.train import train
from training.run import checkpoint
from training.run.config import RunConfig
from zoo.efficientnet import fuse
from zoo.models.fastgan import FastGAN
from zoo.models.projected_gan import Projected, ProjectedGAN


def small(folder, **run):
    """Return a run of small images, in grey."""
    config = small_config("projected-gan", folder, **run)
    shape = {"image_size": 32, "channels": 1, "width": 2, "projection_width": 2, "feature_size": 32}
    return dataclasses.replace(config, entry=dataclasses.replace(config.entry, **shape))


@pytest.fixture
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(features, "STEPS", 20)
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def glyphs(tmp_path_factory):
    """Drawn characters as files with labels, whose features are efficientnet by default."""
    root = tmp_path_factory.mktemp("glyphs")
    for part, step, count in (("train", 0, 120), ("test", 1, 60)):
        batch = open_data("glyphs:AB", (1, 32, 32), 0).batch(step, count)
        for index, pixels in enumerate(to_pixels(batch["real"]).numpy()):
            folder = root / part / "AB"[batch["label"][index]]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[..., 0]).save(folder / f"{index}.png")
    return f"folder:{root}"


def test_a_run_gets_the_published_weights_and_its_random_state_is_untouched(tmp_path):
    state = TrainState(small(tmp_path))
    after = torch.rand(3)
    torch.manual_seed(0)
    state.config.entry.build()
    assert torch.equal(after, torch.rand(3))
    published = load_network()
    fuse(published)
    own = state.trainer.discriminator.discriminator.frozen.network.state_dict()
    assert own.keys() == published.state_dict().keys()
    assert all(torch.equal(own[name], value) for name, value in published.state_dict().items())


def test_an_entry_without_a_pretrained_network_gets_none(monkeypatch):
    monkeypatch.setattr("training.loop.pretrained.NETWORKS", {})
    load_pretrained(FastGAN(channels=3), None)
    with pytest.raises(ValueError, match=r"must be one of .*; got 'efficientnet'"):
        load_pretrained(ProjectedGAN(channels=3), None)


def test_checkpoints_have_the_mixes_and_not_the_network(tmp_path):
    train(small(tmp_path / "run", steps=2))
    _, saved = checkpoint.load(tmp_path / "run" / "checkpoints")
    names = saved["discriminators"].keys()
    assert not [name for name in names if "frozen" in name]
    resumed = TrainState(small(tmp_path / "run", seed=1))
    mixes = [name for name in names if ".projection." in name]
    assert len(mixes) == 7
    drawn = {name: value.clone() for name, value in resumed.trainer.discriminators.state_dict().items()}
    assert not any(torch.equal(drawn[name], saved["discriminators"][name]) for name in mixes), "the control"
    resumed.load_state_dict(2, saved)
    own = resumed.trainer.discriminators.state_dict()
    assert all(torch.equal(own[name], saved["discriminators"][name]) for name in mixes)


def test_scores_during_a_run_are_not_in_the_features_of_its_discriminator(tmp_path, quick, glyphs):
    for chosen in ("auto", "efficientnet"):
        config = small(tmp_path / chosen, data=glyphs, score_every=1, score_samples=20, score_features=chosen)
        with pytest.raises(ValueError, match=r"got efficientnet.*--score-features"):
            train(config)
    good = small(tmp_path / "good", data=glyphs, score_every=1, score_samples=20, score_features="classifier")
    train(good)
    lines = (tmp_path / "good" / "metrics.jsonl").read_text().splitlines()
    assert "frechet" in {name for line in lines for name in json.loads(line)}


def test_another_entry_is_scored_in_these_features(tmp_path, glyphs):
    """The control."""
    config = small_config("dcgan", tmp_path, data=glyphs, score_every=1, score_samples=20)
    state = TrainState(config)
    assert config.trained_against == ()
    state.preview = {"generator": {"latent": torch.zeros(2, 100)}}
    assert open_validator(config, state.pipeline, state.device).name == "frechet"


def test_the_artifact_says_what_it_was_trained_against_and_is_not_scored_by_it(tmp_path, quick, glyphs):
    train(small(tmp_path / "run"))
    export(tmp_path / "run", artifact := tmp_path / "artifact")
    manifest = read_manifest(artifact)
    assert manifest.training.trained_against == ("efficientnet",)
    assert "pretrained network of the features efficientnet" in (artifact / "README.md").read_text()
    weights = sum(file.stat().st_size for file in artifact.glob("*.onnx"))
    assert weights < 4_000_000, "those of efficientnet alone are 13 MB"
    for chosen in ("auto", "efficientnet"):
        with pytest.raises(ValueError, match=r"got efficientnet.*--features of evaluate"):
            evaluate(artifact, glyphs, n=20, features=chosen)
    assert read_manifest(artifact).metrics == []
    assert evaluate(artifact, glyphs, n=20, features="classifier").features["name"] == "classifier"
    assert evaluate(artifact, "glyphs", n=20).features["name"] == "classifier", "auto, for other data"


def test_a_run_that_starts_from_one_is_not_scored_in_its_features_either(tmp_path):
    train(small(tmp_path / "first"))
    fields = {"image_size": 64, "channels": 1, "width": 2}
    config = small_config("fastgan", tmp_path / "second", start_from=str(tmp_path / "first"))
    train(dataclasses.replace(config, entry=dataclasses.replace(config.entry, **fields)))
    assert RunConfig.read(tmp_path / "second").trained_against == ("efficientnet",)
    export(tmp_path / "second", tmp_path / "artifact")
    assert read_manifest(tmp_path / "artifact").training.trained_against == ("efficientnet",)


def test_other_artifacts_do_not_name_the_field(artifacts):
    """The control."""
    assert "trained_against" not in (artifacts / "pictures" / "manifest.json").read_text()


def test_another_trainer_has_nothing_to_load():
    trainer = FastGAN(channels=3, width=4).build()
    assert not isinstance(trainer, Projected)
    before = trainer.discriminators.state_dict().keys()
    trainer.load_pretrained({})
    assert trainer.discriminators.state_dict().keys() == before
