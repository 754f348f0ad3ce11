"""Runs that start from other runs."""

import dataclasses
import json

import pytest
import torch
from torch import nn

from serving.errors import UserError
from serving.runtime.artifact import read_manifest
from training.artifacts.export import export
from training.loop.fine_tune import freeze
from training.loop.train import train
from training.run import checkpoint
from training.run.config import RunConfig
from training.run.train_config import TrainConfig
from zoo.errors import ConfigError
from zoo.models.cdcgan import CDCGAN
from zoo.models.dcgan import DCGAN
from zoo.models.r3gan import R3GAN

SMALL = {"image_size": 16, "width": 4, "batch_size": 4, "objective": "non_saturating", "regularizer": "none"}


def config(folder, entry=None, name="dcgan", **run) -> RunConfig:
    run = {"steps": 2, "data": "glyphs:abc", "device": "cpu", "precision": "fp32", "log_every": 1} | run
    return RunConfig(name=name, entry=entry or DCGAN(**SMALL), train=TrainConfig(out=folder, **run))


def state_of(folder, step=None):
    found = checkpoint.load(folder / "checkpoints", *([step] if step else []))
    return found[1]


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "parent"
    train(config(folder, steps=4, checkpoint_every=2))
    return folder


def test_a_run_starts_from_the_networks_of_another_one(parent, tmp_path):
    """A learning rate of almost 0 keeps the weights where they started."""
    still = dataclasses.replace(DCGAN(**SMALL), learning_rate=1e-12)
    train(config(tmp_path / "child", still, steps=1, start_from=f"{parent}@2", data="glyphs:xyz", seed=7))
    train(config(tmp_path / "scratch", still, steps=1, data="glyphs:xyz", seed=7))
    child, scratch, whole = state_of(tmp_path / "child"), state_of(tmp_path / "scratch"), state_of(parent, 2)
    for player in ("generators", "discriminators"):
        for name, value in whole[player].items():
            if value.ndim > 1:
                torch.testing.assert_close(child[player][name], value, rtol=1e-3, atol=1e-6)
                assert not torch.allclose(scratch[player][name], value, rtol=1e-3, atol=1e-6), "the control"
    assert child["optimizers"]["generator"]["state"][0]["step"] == 1, "optimizers start anew"


def test_the_average_goes_on_with_the_decay_that_it_had(parent, tmp_path):
    train(config(tmp_path / "child", steps=1, start_from=str(parent), ema=0.99))
    before, after = state_of(parent), state_of(tmp_path / "child")
    name = next(name for name, value in before["average"].items() if value.ndim > 1)
    decay = 5 / 14  # of step 4, counted from 0
    wanted = decay * before["average"][name] + (1 - decay) * after["generators"][name]
    torch.testing.assert_close(after["average"][name], wanted)


def test_a_resumed_run_continues_its_own_checkpoint(parent, tmp_path):
    once, twice = (
        config(tmp_path / name, steps=3, start_from=str(parent), checkpoint_every=1) for name in ("a", "b")
    )
    train(once)
    train(dataclasses.replace(twice, train=dataclasses.replace(twice.train, steps=1)))
    train(twice)
    assert checkpoint.pack(state_of(tmp_path / "a")) == checkpoint.pack(state_of(tmp_path / "b"))
    moved = parent.parent / "moved" / parent.name
    train(dataclasses.replace(once, train=dataclasses.replace(once.train, start_from=str(moved))))
    for change in ({"start_from": None}, {"start_from": f"{parent}@2"}):
        with pytest.raises(
            UserError, match=r"another run \(from is parent in its run\.json; got (None|parent@2)\)"
        ):
            train(dataclasses.replace(once, train=dataclasses.replace(once.train, **change)))


def test_the_lineage_is_told_by_run_json_and_the_manifest(parent, tmp_path):
    train(config(tmp_path / "child", start_from=f"{parent}@2", data="glyphs:xyz"))
    train(config(tmp_path / "grandchild", start_from=str(tmp_path / "child")))
    told = json.loads((tmp_path / "grandchild" / "run.json").read_text())["lineage"]
    assert [(each["run"], each["data"], each["steps"]) for each in told] == [
        ("child", "glyphs:xyz", 2),
        ("parent", "glyphs:abc", 2),
    ]
    assert any(f"00000002-{told[1]['sha256']}" in path.name for path in (parent / "checkpoints").iterdir())
    export(tmp_path / "grandchild", tmp_path / "artifact")
    training = read_manifest(tmp_path / "artifact").training
    assert [each.model_dump() for each in training.lineage] == told
    card = (tmp_path / "artifact" / "README.md").read_text()
    assert "started from `child`" in card
    assert " --from runs/child@2" in card
    export(parent, tmp_path / "alone")
    assert b"lineage" not in (tmp_path / "alone" / "manifest.json").read_bytes()


def test_weights_of_another_shape_start_anew_and_are_named(parent, tmp_path, capsys):
    wider = dataclasses.replace(DCGAN(**SMALL), channels=3)
    train(config(tmp_path / "child", wider, steps=1, start_from=str(parent)))
    said = capsys.readouterr().err
    assert (
        "note: 2 weights differ and start from random values: generator.stages.6.weight has 4x3x4x4" in said
    )
    assert "discriminator.discriminator.stages.0.weight has 4x3x4x4 here" in said


def test_other_classes_start_anew(tmp_path, capsys):
    entry = CDCGAN(**SMALL)
    train(config(tmp_path / "three", entry, "cdcgan", data="glyphs:abc"))
    train(config(tmp_path / "two", entry, "cdcgan", data="glyphs:xy", start_from=str(tmp_path / "three")))
    assert "generator.embedding.weight has 2x50 here and has 3x50 there" in capsys.readouterr().err


def test_an_entry_takes_the_networks_that_another_entry_has_inside_its_own(parent, tmp_path, capsys):
    """`cdcgan` has the networks of `dcgan` as `body`, with another first layer each."""
    still = CDCGAN(**SMALL, learning_rate=1e-12)
    train(config(tmp_path / "classes", still, "cdcgan", steps=1, start_from=str(parent)))
    said = capsys.readouterr().err
    assert "note: 4 weights differ and start from random values: generator.embedding.weight has 3x50" in said
    assert "generator.body.stages.0.weight has 150x8x4x4 here and has 100x8x4x4 there" in said
    back = dataclasses.replace(DCGAN(**SMALL), learning_rate=1e-12)
    train(config(tmp_path / "none", back, steps=1, start_from=str(tmp_path / "classes")))
    first, last = state_of(parent)["generators"], state_of(tmp_path / "none")["generators"]
    name = "generator.stages.3.weight"
    torch.testing.assert_close(last[name], first[name], rtol=1e-3, atol=1e-6)
    assert not torch.allclose(last["generator.stages.0.weight"], first["generator.stages.0.weight"], rtol=0.1)


@pytest.mark.parametrize(
    ("entry", "name", "start_from", "match"),
    [
        (R3GAN(image_size=16, width=16, blocks=1), "r3gan", "{}", "has no weights in common"),
        (None, "dcgan", "{}@3", "step 3 .* is not kept; use newest or one of the steps 4, 2"),
        (None, "dcgan", "{}@last", "must be newest, best or a step; got 'last'"),
        (None, "dcgan", "{}/nowhere", "holds no run"),
    ],
)
def test_what_can_not_be_started_from_is_named(parent, tmp_path, entry, name, start_from, match):
    with pytest.raises(UserError, match=match):
        train(config(tmp_path / "child", entry, name, start_from=start_from.format(parent)))


@pytest.mark.parametrize("fields", [{}, {"spectral_norm": True, "discriminator_norm": "none"}])
def test_frozen_layers_keep_their_weights_and_the_others_learn(tmp_path, fields):
    entry = dataclasses.replace(DCGAN(**SMALL), **fields)
    train(config(tmp_path / "parent", entry))
    train(
        config(
            tmp_path / "child", entry, steps=3, start_from=str(tmp_path / "parent"), freeze_discriminator=2
        )
    )
    before, after = (state_of(tmp_path / name)["discriminators"] for name in ("parent", "child"))
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    kept = {name for name in before if ".stages.0." in name or ".stages.2." in name or ".stages.3." in name}
    learnt = {name for name in before if name.endswith(("weight", "original"))}
    assert same & learnt == kept & learnt
    assert same >= {name for name in kept if "running" in name}, "statistics are kept too"


def test_a_run_with_frozen_layers_resumes_to_the_bit(parent, tmp_path):
    options = {"steps": 3, "start_from": str(parent), "freeze_discriminator": 1, "checkpoint_every": 1}
    train(config(tmp_path / "a", **options))
    train(config(tmp_path / "b", **options | {"steps": 1}))
    train(config(tmp_path / "b", **options))
    assert checkpoint.pack(state_of(tmp_path / "a")) == checkpoint.pack(state_of(tmp_path / "b"))


def test_layers_that_start_anew_can_not_be_frozen(parent, tmp_path):
    coloured = dataclasses.replace(DCGAN(**SMALL), channels=3)
    with pytest.raises(UserError, match=r"layers to freeze must be those .*\.stages\.0\.weight has 4x3x4x4"):
        train(config(tmp_path / "child", coloured, start_from=str(parent), freeze_discriminator=1))


def test_an_average_with_new_weights_starts_anew(parent, tmp_path):
    coloured = dataclasses.replace(DCGAN(**SMALL), channels=3)
    train(config(tmp_path / "other", coloured, steps=1, start_from=str(parent)))
    train(config(tmp_path / "same", steps=1, start_from=str(parent)))
    train(config(tmp_path / "third", steps=1, start_from=str(tmp_path / "same")))
    told = [RunConfig.read(tmp_path / name).average_steps for name in ("other", "same", "third")]
    assert told == [0, 4, 5]


def test_more_layers_than_there_are_can_not_be_frozen():
    discriminators = nn.ModuleDict({"discriminator": nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))})
    freeze(discriminators, 1)
    assert [each.requires_grad for each in discriminators.parameters()] == [False, False, True, True]
    with pytest.raises(UserError, match="must be below 2, the number of layers of discriminator; got 2"):
        freeze(discriminators, 2)
    with pytest.raises(ConfigError, match="add --from RUN"):
        TrainConfig(freeze_discriminator=1)
