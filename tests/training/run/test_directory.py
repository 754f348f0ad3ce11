"""A run whose checkpoints are gone is not trained again without being told to."""

import json
import shutil

import pytest

from serving.errors import UserError
from tests.conftest import small_config
from training.loop.train import train
from training.run import checkpoint
from training.run.directory import held


def config_of(folder, **run):
    return small_config("linear-gan", folder, steps=4, checkpoint_every=2, **run)


def steps_of(folder) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("whole", [True, False], ids=["the folder", "its files"])
def test_without_its_checkpoints_a_run_is_refused_until_it_shall_start_again(whole, tmp_path):
    config = config_of(tmp_path)
    train(config)
    (name,) = (path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.startswith("00000004"))
    shutil.rmtree(tmp_path / "checkpoints")
    if not whole:
        (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match=r"4 steps in metrics\.jsonl but no checkpoint.*--restart"):
        train(config)
    assert steps_of(tmp_path) == [1, 2, 3, 4], "nothing is lost"
    train(config, restart=True)
    assert steps_of(tmp_path) == [1, 2, 3, 4]
    assert (tmp_path / "checkpoints" / name).exists(), "the run is the same again"


def test_a_short_run_that_saved_only_at_its_end_is_refused_too(tmp_path):
    config = small_config("linear-gan", tmp_path, steps=2)
    train(config)
    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.raises(UserError, match="2 steps"):
        train(config)


@pytest.mark.parametrize(
    "metrics", [None, "", '{"step": 1, "loss": 1.0}\n', '{"step": 1, "loss": 1.0}\n{"st']
)
def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again(metrics, tmp_path):
    config = config_of(tmp_path)
    config.write()
    if metrics is not None:
        (tmp_path / "metrics.jsonl").write_text(metrics)
    train(config)
    assert steps_of(tmp_path) == [1, 2, 3, 4]


def test_a_restart_begins_anew_beside_checkpoints_too(tmp_path):
    config = config_of(tmp_path)
    train(config)
    with held(config, restart=True):
        assert checkpoint.load(tmp_path / "checkpoints") is None
        assert {path.name for path in tmp_path.iterdir()} == {"run.json", "lock", "holder"}


def test_a_restart_does_not_replace_another_run(tmp_path):
    train(config_of(tmp_path))
    other = config_of(tmp_path, seed=1)
    with pytest.raises(UserError, match="another run"):
        train(other, restart=True)
    assert steps_of(tmp_path) == [1, 2, 3, 4]
