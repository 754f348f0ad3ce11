"""The data of a run: channels from the data, what is remembered, and what is told at the start."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.errors import UserError
from serving.runtime.manifest import Manifest
from tests.training.cli.test_main import ganzoo
from training.artifacts.export import export
from training.artifacts.model_card import command
from training.loop.averaged import open_averaged
from training.loop.data import CHANNELS, facts_of, open_run_data
from training.loop.distributed import SINGLE
from training.loop.train import train
from training.run.config import RunConfig
from training.run.train_config import TrainConfig
from zoo import registry
from zoo.errors import ConfigError
from zoo.models.dcgan import DCGAN
from zoo.models.translate.cyclegan import CycleGAN


def put(path, values, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)


def noise(*shape, most=256, seed=0, kind=np.uint8):
    return np.random.default_rng(seed).integers(0, most, shape).astype(kind)


def config_of(data, folder, entry=None, **run) -> RunConfig:
    entry = entry or DCGAN(image_size=16, width=4, latent_size=8, batch_size=4)
    settings = TrainConfig(data=str(data), out=folder, device="cpu", precision="fp32", **{"steps": 1, **run})
    return RunConfig(name=registry.name_of(type(entry)), entry=entry, train=settings)


@pytest.fixture
def greys(tmp_path):
    for number in range(4):
        put(tmp_path / "greys" / f"{number}.png", noise(16, 16, seed=number))
    return tmp_path / "greys"


@pytest.fixture
def twelve_bits(tmp_path):
    for number in range(4):
        put(tmp_path / "twelve" / f"{number}.png", noise(16, 16, most=4096, seed=number, kind=np.uint16))
    return tmp_path / "twelve"


def test_channels_are_those_of_the_data_unless_told(greys, tmp_path):
    train(config_of(f"folder:{greys}", tmp_path / "grey"))
    assert RunConfig.read(tmp_path / "grey").entry.channels == 1
    told = DCGAN(image_size=16, width=4, channels=3)
    train(config_of(f"folder:{greys}", tmp_path / "told", told))
    assert RunConfig.read(tmp_path / "told").entry.channels == 3
    put(greys / "colour.png", noise(16, 16, 3))
    train(config_of(f"folder:{greys}", tmp_path / "mixed"))
    assert RunConfig.read(tmp_path / "mixed").entry.channels == 3


@pytest.mark.parametrize(("data", "channels"), [("glyphs", 1), ("glyphs:AB", 1), ("cifar10", 3)])
def test_built_in_data_have_their_channels(data, channels):
    assert facts_of(TrainConfig(data=data), (0, 32, 32)).channels == channels
    assert facts_of(TrainConfig(data="ring8"), (2,)).channels == 0
    assert set(CHANNELS) == {"glyphs", "mnist", "fashion-mnist", "cifar10"}


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_an_entry_takes_only_the_numbers_that_it_leaves_open():
    assert DCGAN().for_data(classes=5, channels=1) == DCGAN(channels=1)
    assert DCGAN(channels=3).for_data(channels=1) == DCGAN(channels=3)
    conditional = registry.load("cdcgan")
    assert conditional().for_data(classes=5, channels=1) == conditional(classes=5, channels=1)
    assert registry.load("linear-gan")().for_data(classes=5, channels=1) == registry.load("linear-gan")()
    with pytest.raises(ConfigError, match="channels must be set"):
        DCGAN().build()


def test_a_run_with_channels_of_old_is_resumed(greys, tmp_path):
    """Before, 3 was the default; the same command finds it in run.json, and not in the data."""
    old = DCGAN(image_size=16, width=4, latent_size=8, batch_size=4, channels=3)
    train(config_of(f"folder:{greys}", tmp_path / "run", old))
    stored = json.loads((tmp_path / "run" / "run.json").read_text())
    del stored["value_range"], stored["run"]["fit"], stored["run"]["value_range"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(stored))
    train(config_of(f"folder:{greys}", tmp_path / "run", steps=2))
    assert RunConfig.read(tmp_path / "run").entry.channels == 3
    assert open_averaged(tmp_path / "run").steps == 2
    with pytest.raises(UserError, match="channels is 3"):
        train(config_of(f"folder:{greys}", tmp_path / "run", dataclasses.replace(old, channels=1)))


def test_values_that_would_be_lost_stop_a_run_before_it_starts(twelve_bits, tmp_path):
    with pytest.raises(UserError, match=r"folder:twelve: the values of 4 images .*--value-range 0 4095"):
        train(config_of(f"folder:{twelve_bits}", tmp_path / "run"))


@pytest.mark.parametrize("asked", [(0.0, 4095.0), "percentile"])
def test_a_value_range_is_remembered(asked, twelve_bits, tmp_path, capsys):
    run, artifact = tmp_path / "run", tmp_path / "artifact"
    train(config_of(f"folder:{twelve_bits}", run, value_range=asked))
    assert "become 0 to 255; the data have" in capsys.readouterr().err
    stored = RunConfig.read(run)
    low, high = stored.value_range
    assert stored.train.value_range == asked
    assert (low, high) == pytest.approx((0, 4095), abs=20)
    train(config_of(f"folder:{twelve_bits}", run, value_range=asked, steps=2))
    assert RunConfig.read(run).value_range == (low, high)
    with pytest.raises(UserError, match="value_range is"):
        train(config_of(f"folder:{twelve_bits}", run, value_range=(0.0, 7.0)))
    manifest = export(run, artifact)
    assert manifest.training.value_range == (low, high)
    assert f"--value-range {low} {high}" in command(manifest, manifest.training)
    assert Manifest.model_validate_json(manifest.to_json()).training == manifest.training


def test_a_translator_translates_by_the_range_of_its_training(tmp_path):
    for folder in ("trainA", "trainB"):
        for number in range(2):
            values = noise(16, 16, most=4096, seed=number, kind=np.uint16)
            put(tmp_path / "data" / folder / f"{number}.png", values)
    entry = CycleGAN(
        image_size=(16, 16), resize=1, width=4, discriminator_width=4, discriminator_layers=1,
        translator="resnet-6", channels_a=1, channels_b=1,
    )  # fmt: skip
    run, artifact = tmp_path / "run", tmp_path / "artifact"
    spec = f"unpaired:{tmp_path / 'data'}"
    with pytest.raises(UserError, match="--value-range 0 4095"):
        train(config_of(spec, run, entry))
    train(config_of(spec, run, entry, value_range=(0.0, 4095.0)))
    manifest = export(run, artifact)
    assert {graph.inputs["image"].value_range for graph in manifest.graphs.values()} == {(0, 4095)}
    given = tmp_path / "data" / "trainA" / "0.png"
    eight_bits = np.rint(np.asarray(Image.open(given).copy()) * (255 / 4095)).astype(np.uint8)
    put(tmp_path / "eight.png", eight_bits)
    for model in (run, artifact):
        for file in (given, tmp_path / "eight.png"):
            assert ganzoo("translate", str(model), str(file), str(tmp_path / f"{file.stem}-out.png")) == 0
        deep, shallow = (np.asarray(Image.open(tmp_path / f"{name}-out.png")) for name in ("0", "eight"))
        assert np.array_equal(deep, shallow)


def test_what_is_learnt_from_is_told_in_one_line(tmp_path, capsys):
    root = tmp_path / "set"
    for part, count in (("Train", 4), ("test", 2), ("val", 1)):
        for number in range(count):
            put(root / part / "cat" / f"{number}.PNG", noise(16, 48, 3, seed=number))
    for junk in (
        "Train/cat/._0.PNG", "Train/.DS_Store", "Train/@eaDir/1.png", "__MACOSX/1.png", "$RECYCLE.BIN/1.png",
        "Train/cat/.ipynb_checkpoints/1.png", "Train/cat/Thumbs.db", "Train/cat/0.txt", "Train/cat/1.txt",
        "Train/cat/2.HEIC",
    ):  # fmt: skip
        (root / junk).parent.mkdir(parents=True, exist_ok=True)
        (root / junk).write_text("junk")
    facts = facts_of(TrainConfig(data=f"folder:{root}"), (3, 16, 16))
    line, warning = facts.told
    parts, _, skipped = line.partition("; skipped ")
    assert parts == (
        "folder:set: images: 4 in Train to train on; 2 in test held out; 1 in other folders not used"
    )
    assert set(skipped.split(", ")) == {"6 hidden", "2 .txt", "1 .heic", "1 .db"}
    assert warning.startswith("warning: cropping to 16x16 loses 67% of the area of 4 of 4 images; use --fit")
    train(config_of(f"folder:{root}", tmp_path / "run"))
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line in facts.told] == list(facts.told)
    for fit in ("pad", "squash"):
        assert len(facts_of(TrainConfig(data=f"folder:{root}", fit=fit), (3, 16, 16)).told) == 1


def test_domains_and_pairs_are_told_too(tmp_path):
    for folder, count in (("trainA", 2), ("trainB", 3), ("testA", 1), ("testB", 1)):
        for number in range(count):
            put(tmp_path / "styles" / folder / f"{number}.png", noise(8, 8))
    (told,) = facts_of(TrainConfig(data=f"unpaired:{tmp_path / 'styles'}"), (3, 8, 8)).told
    assert told == (
        "unpaired:styles: images: 2 in trainA, 3 in trainB to train on; 1 in testA, 1 in testB held out"
    )
    put(tmp_path / "pairs" / "0.png", noise(8, 16))
    (told,) = facts_of(TrainConfig(data=f"paired:{tmp_path / 'pairs'}"), (3, 8, 8)).told
    assert told == "paired:pairs: images: 1 to train on; none held out"


def test_the_way_to_fit_changes_the_examples(tmp_path):
    put(tmp_path / "set" / "0.png", np.full((8, 24), 200, np.uint8))
    black = {}
    for fit in ("crop", "pad", "squash"):
        _, data = open_run_data(
            config_of(f"folder:{tmp_path / 'set'}", tmp_path / fit, fit=fit), SINGLE, tmp_path / fit
        )
        black[fit] = (data.real == 0).float().mean().item()
    assert black == pytest.approx({"crop": 0, "pad": 11 / 16, "squash": 0})
    train(config_of(f"folder:{tmp_path / 'set'}", tmp_path / "crop"))
    assert (
        export(
            train(config_of(f"folder:{tmp_path / 'set'}", tmp_path / "pad", fit="pad")), tmp_path / "artifact"
        ).training.fit
        == "pad"
    )
    with pytest.raises(UserError, match="fit is crop"):
        train(config_of(f"folder:{tmp_path / 'set'}", tmp_path / "crop", fit="pad"))


@pytest.mark.parametrize(
    "wrong", [{"fit": "pad"}, {"value_range": (0.0, 1.0)}, {"value_range": "percentile"}]
)
def test_what_is_for_files_is_refused_for_other_data(wrong, tmp_path):
    with pytest.raises(UserError, match="need data of image files"):
        train(config_of("glyphs", tmp_path / "run", **wrong))


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_data_are_known_by_their_images_and_not_by_their_path(greys, tmp_path, monkeypatch, kind):
    def packed(name):
        if kind == "folder":
            return shutil.copytree(greys, tmp_path / name)
        return Path(shutil.make_archive(str(tmp_path / name), kind, greys))

    run, place = tmp_path / "run", packed("first")
    train(config_of(f"folder:{place}", run))
    monkeypatch.chdir(tmp_path)
    train(config_of(f"folder:{Path('greys', '..', place.name)}", run, steps=2))
    moved = place.rename(place.with_stem("moved"))
    train(config_of(f"folder:{moved}", run, steps=3))
    put(greys / "4.png", noise(16, 16, seed=4))
    with pytest.raises(
        UserError, match=r"data is folder: 4 images, \w+ in its run\.json; got folder: 5 images, \w+"
    ):
        train(config_of(f"folder:{packed('more')}", run, steps=4))
    with pytest.raises(UserError, match=r"data is folder: .*; got unpaired: 4 images"):
        train(config_of(f"unpaired:{moved}", run, steps=4))


def test_a_restart_with_other_images_removes_nothing(greys, tmp_path):
    run = tmp_path / "run"
    train(config_of(f"folder:{greys}", run))
    kept = sorted((run / "checkpoints").iterdir())
    put(greys / "4.png", noise(16, 16, seed=4))
    with pytest.raises(UserError, match=r"4 images.*5 images"):
        train(config_of(f"folder:{greys}", run), restart=True)
    assert sorted((run / "checkpoints").iterdir()) == kept


def test_a_run_without_a_fingerprint_is_known_by_its_path(greys, tmp_path):
    train(config_of(f"folder:{greys}", tmp_path / "run"))
    path = tmp_path / "run" / "run.json"
    content = json.loads(path.read_text())
    del content["fingerprint"], content["lineage"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="data is folder:"):
        train(config_of(f"folder:{greys}/../greys", tmp_path / "run", steps=2))
    train(config_of(f"folder:{greys}", tmp_path / "run", steps=2))
