"""The loop: resumed runs equal to the bit, signals, a second run, other hyperparameters, divergence."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import filelock
import pytest
import torch
from PIL import Image
from torch import nn

from tests.conftest import EVERY, small_config
from training.evaluation import features
from training.loop.averaged import open_averaged
from training.loop.monitor import Diverged, Monitor
from training.loop.rollback import MOST_ROLLBACKS, roll_back
from training.loop.train import Interrupted, TrainState, train
from training.run import checkpoint
from training.run.config import RunConfig
from training.run.train_config import TrainConfig
from zoo import registry
from zoo.adversarial import TwoPlayer
from zoo.models.mlp_gan import MLPGAN
from zoo.models.translate.cyclegan import CycleTrainer


def final(folder: Path) -> str:
    """The name of the newest checkpoint, which holds the digest of every bit of the state."""
    return max(path.name for path in (folder / "checkpoints").iterdir())


def interrupted(name: str, folder: Path) -> RunConfig:
    """Train to step 4, and take the last checkpoint away as a crash would: step 2 is what is left."""
    config = small_config(name, folder, steps=4, checkpoint_every=2)
    train(config)
    (folder / "checkpoints" / final(folder)).unlink()
    return config


@pytest.mark.parametrize("name", EVERY)
def test_every_entry_resumes_equal_to_the_bit(name, tmp_path):
    train(small_config(name, tmp_path / "whole", steps=4, checkpoint_every=2))
    train(interrupted(name, tmp_path / "resumed"))
    assert final(tmp_path / "resumed") == final(tmp_path / "whole")
    lines = (tmp_path / "resumed" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]


@pytest.mark.parametrize("forgotten", ["random", "optimizers"])
def test_a_resume_that_forgets_something_is_not_equal(forgotten, tmp_path, monkeypatch):
    """The control: without the random state, or the optimizers' moments, the bits differ."""
    train(small_config("mlp-gan", tmp_path / "whole", steps=4))
    config = interrupted("mlp-gan", tmp_path / "resumed")
    if forgotten == "random":
        monkeypatch.setattr(checkpoint, "restore_random_state", lambda state, device: None)
    else:
        monkeypatch.setattr(torch.optim.Adam, "load_state_dict", lambda self, state: None)
    train(config)
    assert final(tmp_path / "resumed") != final(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_saves_and_the_run_goes_on_as_if_nothing_had_been(number, tmp_path):
    command = [sys.executable, "-m", "training", "train", "mlp-gan", "--data", "glyphs", "--batch-size", "4"]
    command += ["--device", "cpu", "--log-every", "1", "--out", str(tmp_path / "stopped")]
    command += ["--precision", "fp32", "--steps"]
    process = subprocess.Popen([*command, "100000"], stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "stopped" / "metrics.jsonl"
    give_up = time.monotonic() + 60
    while not (metrics.exists() and metrics.read_text().count("\n") > 5):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < give_up
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert "a checkpoint is saved" in said

    step, _ = checkpoint.load(tmp_path / "stopped" / "checkpoints")
    for folder in ("stopped", "whole"):
        train(small_config("mlp-gan", tmp_path / folder, steps=step + 5))
    assert final(tmp_path / "stopped") == final(tmp_path / "whole")


def test_a_signal_in_a_step_ends_the_run_after_it(tmp_path, monkeypatch):
    step = TwoPlayer.step

    def interrupted(self, batch):
        signal.raise_signal(signal.SIGTERM)
        return step(self, batch)

    monkeypatch.setattr(TwoPlayer, "step", interrupted)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted) as raised:
        train(small_config("mlp-gan", tmp_path, steps=10))
    assert raised.value.signal == signal.SIGTERM
    assert checkpoint.load(tmp_path / "checkpoints")[0] == 1
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_finished_run_is_left_alone(tmp_path):
    config = small_config("linear-gan", tmp_path)
    train(config)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "checkpoints").iterdir()}
    train(config)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "checkpoints").iterdir()}


def test_a_second_run_in_the_folder_is_refused_and_the_holder_named(tmp_path):
    (tmp_path / "holder").write_text("4711")
    with filelock.FileLock(tmp_path / "lock"), pytest.raises(ValueError, match="4711"):
        train(small_config("linear-gan", tmp_path))
    train(small_config("linear-gan", tmp_path))


def test_other_hyperparameters_are_refused_with_the_differences(tmp_path):
    train(small_config("linear-gan", tmp_path))
    entry = registry.load("linear-gan")(batch_size=4, learning_rate=0.5)
    other = RunConfig(
        name="linear-gan", entry=entry, train=TrainConfig(data="gaussian2d", seed=9, out=tmp_path)
    )
    said = r"learning_rate is 0\.003 in its run\.json; got 0\.5, and seed is 0 in its run\.json; got 9\)"
    with pytest.raises(ValueError, match=said):
        train(other)


def test_steps_and_intervals_may_be_others(tmp_path):
    train(small_config("linear-gan", tmp_path, steps=2))
    train(
        small_config(
            "linear-gan",
            tmp_path,
            steps=5,
            log_every=2,
            sheet_every=3,
            checkpoint_every=4,
            keep_checkpoints=3,
        )
    )
    assert checkpoint.steps(tmp_path / "checkpoints") == [5, 4, 2]


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "letter.partial").write_text("dear")
    with pytest.raises(ValueError, match="letter"):
        train(small_config("linear-gan", tmp_path))
    assert (tmp_path / "letter.partial").read_text() == "dear"


def test_what_a_killed_run_left_half_written_is_swept(tmp_path):
    train(small_config("linear-gan", tmp_path, steps=1))
    left = [tmp_path / "checkpoints" / "00000002-0.safetensors.partial", tmp_path / "run.json.partial"]
    for path in left:
        path.touch()
    train(small_config("linear-gan", tmp_path, steps=2))
    assert not any(path.exists() for path in left)


def poison(monkeypatch, *steps):
    """Make a scalar of some of the trainer's steps, counted from 1 over the whole test, no number."""
    step, calls = TwoPlayer.step, []

    def poisoned(self, batch):
        calls.append(1)
        scalars = step(self, batch)
        return scalars | {"generator_loss": torch.tensor(float("nan"))} if len(calls) in steps else scalars

    monkeypatch.setattr(TwoPlayer, "step", poisoned)


def test_numbers_that_are_none_stop_the_run_before_they_are_saved(tmp_path, monkeypatch):
    poison(monkeypatch, 5)
    config = small_config("linear-gan", tmp_path, steps=8, checkpoint_every=4)
    with pytest.raises(Diverged, match="generator_loss is nan at step 5"):
        train(config)
    assert checkpoint.load(tmp_path / "checkpoints")[0] == 4


def test_weights_that_are_none_are_not_saved_either(tmp_path, monkeypatch):
    step = TwoPlayer.step

    def poisoned(self, batch):
        scalars = step(self, batch)
        with torch.no_grad():
            next(self.generator.parameters()).fill_(float("inf"))
        return scalars

    monkeypatch.setattr(TwoPlayer, "step", poisoned)
    with pytest.raises(Diverged, match="not finite"):
        train(small_config("linear-gan", tmp_path, steps=1))
    assert checkpoint.load(tmp_path / "checkpoints") is None


def test_the_learning_rate_follows_the_entry(monkeypatch):
    config = RunConfig(
        name="mlp-gan",
        entry=MLPGAN(shape=(2,), batch_size=2),
        train=TrainConfig(data="ring8", steps=10, device="cpu"),
    )
    monkeypatch.setattr(MLPGAN, "learning_rate_at", lambda self, progress: 1 - progress)
    state = TrainState(config)
    from training.data.dataset import open_data

    data = open_data("ring8", (2,), 0)
    rates = []
    for _ in range(3):
        state.step(data)
        rates.append(state.trainer.optimizers["generator"].param_groups[0]["lr"])
    assert rates == pytest.approx([2e-4, 1.8e-4, 1.6e-4])


def test_the_probe_does_not_disturb_what_follows():
    config = RunConfig(
        name="mlp-gan", entry=MLPGAN(shape=(2,), batch_size=2), train=TrainConfig(data="ring8", device="cpu")
    )
    from training.data.dataset import open_data

    data = open_data("ring8", (2,), 0)
    with_probe, without = TrainState(config), None
    with_probe.draw_preview(data)
    one = torch.rand(3)
    without = TrainState(config)
    assert torch.equal(one, torch.rand(3))
    assert with_probe.preview["generator"]["latent"].shape == (64, 100)
    assert without.done == 0


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["cyclegan", "pix2pix", "dcgan"])
def test_a_run_on_cuda_gives_the_same_bits_again(name, tmp_path):
    for folder in ("one", "other"):
        train(small_config(name, tmp_path / folder, steps=4, device="cuda"))
    assert final(tmp_path / "one") == final(tmp_path / "other")


@pytest.mark.parametrize(
    ("name", "data"), [("cyclegan", "glyphs"), ("pix2pix", "glyphs-style"), ("dcgan", "glyphs-pairs")]
)
def test_data_that_are_made_up_otherwise_are_refused(name, data, tmp_path):
    with pytest.raises(
        ValueError, match=r"trains on .* has (examples|domains|pairs)|data of two domains|images of|colour"
    ):
        train(small_config(name, tmp_path, data=data))


def test_pairs_are_domains_too(tmp_path):
    train(small_config("cyclegan", tmp_path, data="glyphs-pairs", steps=1))


def test_a_resume_that_forgets_the_pools_is_not_equal(tmp_path, monkeypatch):
    """The control of CycleGAN's: its pools are full at step 2, and what they hold is shown at step 4."""

    def config(folder: Path) -> RunConfig:
        whole = small_config("cyclegan", folder, steps=6, checkpoint_every=3)
        return dataclasses.replace(whole, entry=dataclasses.replace(whole.entry, pool_size=4))

    def resumed(folder: Path) -> str:
        train(config(folder))
        (folder / "checkpoints" / final(folder)).unlink()
        train(config(folder))
        return final(folder)

    train(config(tmp_path / "whole"))
    assert resumed(tmp_path / "remembered") == final(tmp_path / "whole")
    monkeypatch.setattr(CycleTrainer, "load_state_dict", lambda self, state: None)
    assert resumed(tmp_path / "forgotten") != final(tmp_path / "whole")


def test_a_resume_between_two_changes_of_the_augmentation_is_equal_to_the_bit(tmp_path, monkeypatch):
    """The probability, and the signs since its last change, are in the checkpoint."""

    def config(folder: Path) -> RunConfig:
        made = small_config("dcgan", folder, steps=14, checkpoint_every=7)
        return dataclasses.replace(
            made, entry=dataclasses.replace(made.entry, augment_target=0.1, augment_ramp=0.05)
        )

    def resumed(folder: Path, restore: Callable[..., object] = nn.Module.load_state_dict) -> str:
        train(config(folder))
        (folder / "checkpoints" / final(folder)).unlink()
        with monkeypatch.context() as patch:
            patch.setattr(nn.Module, "load_state_dict", restore)
            train(config(folder))
        return final(folder)

    train(config(tmp_path / "whole"))
    lines = map(json.loads, (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines())
    assert len({line["augment_probability"] for line in lines}) > 1
    assert resumed(tmp_path / "remembered") == final(tmp_path / "whole")
    restore = nn.Module.load_state_dict
    for name in ("probability", "steps"):
        key = f"discriminator.augment.{name}"

        def forgetful(module: nn.Module, state: dict[str, torch.Tensor], key: str = key) -> object:
            return restore(module, state | ({key: torch.zeros(())} if key in state else {}))

        assert resumed(tmp_path / name, forgetful) != final(tmp_path / "whole"), "the control"


@pytest.mark.gpu
@pytest.mark.parametrize("name", registry.ENTRIES)
def test_every_entry_trains_and_resumes_on_cuda(name, tmp_path):
    config = small_config(name, tmp_path, steps=4, checkpoint_every=2, device="cuda")
    train(config)
    (tmp_path / "checkpoints" / final(tmp_path)).unlink()
    train(config)
    step, state = checkpoint.load(tmp_path / "checkpoints")
    assert step == 4
    assert state["random"]["cuda"] is not None


def test_the_sheet_of_a_conditional_entry_has_a_row_a_class(runs):
    sheet = runs / "classes" / "sheets" / "00000003-generator.png"
    with Image.open(sheet) as image:
        assert image.size == (22 * 18 + 2, 3 * 18 + 2), "at least 64 in all"
    preview = open_averaged(runs / "classes").preview["generator"]
    assert preview["label"].tolist() == [0] * 22 + [1] * 22 + [2] * 22


@pytest.mark.parametrize("data", ["glyphs", "gaussian2d"])
def test_data_without_the_classes_are_refused(tmp_path, data):
    shape = {"image_size": 16, "channels": 1, "width": 4}
    entry = registry.load("cdcgan")(classes=3, **shape)
    run = TrainConfig(data=data, steps=1, out=tmp_path / "run", device="cpu", precision="fp32")
    config = RunConfig(name="cdcgan", entry=entry, train=run)
    with pytest.raises(ValueError, match=r"classes|vectors"):
        train(config)


def test_a_collapse_is_undone_from_the_checkpoint_before_it(tmp_path, monkeypatch, capsys):
    """Back to step 4 at half the rates, with other random numbers, and on to the end."""
    poison(monkeypatch, 6)
    config = small_config("linear-gan", tmp_path, steps=8, checkpoint_every=2, on_collapse="rollback")
    train(config)
    assert "rolled back to step 4 with halved learning rates" in capsys.readouterr().err
    step, state = checkpoint.load(tmp_path / "checkpoints")
    assert (step, state["rollbacks"]) == (8, 1)
    for optimizer in state["optimizers"].values():
        assert optimizer["param_groups"][0]["initial_lr"] == config.entry.learning_rate / 2
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 9)), "each step once"


def test_the_way_back_has_other_random_numbers(tmp_path):
    config = small_config("linear-gan", tmp_path, steps=4, checkpoint_every=2, keep_checkpoints=5)
    train(config)
    (before,) = (tmp_path / "checkpoints").glob("00000002-*")
    _, saved = checkpoint.load(tmp_path / "checkpoints", latest=2)
    state = TrainState(config)
    state.load_state_dict(*checkpoint.load(tmp_path / "checkpoints"))
    roll_back(state, Diverged("a bad day", onset=3))
    step, undone = checkpoint.load(tmp_path / "checkpoints")
    assert step == 2
    assert not before.exists(), "what it was is replaced"
    weight = "generator.linear.weight"
    assert torch.equal(undone["generators"][weight], saved["generators"][weight])
    assert not torch.equal(undone["random"]["cpu"], saved["random"]["cpu"])


def test_a_signal_during_a_collapse_is_not_forgotten(tmp_path, monkeypatch):
    step, calls = TwoPlayer.step, []

    def poisoned(self, batch):
        calls.append(1)
        scalars = step(self, batch)
        if len(calls) != 3:
            return scalars
        signal.raise_signal(signal.SIGTERM)
        return scalars | {"generator_loss": torch.tensor(float("nan"))}

    monkeypatch.setattr(TwoPlayer, "step", poisoned)
    config = small_config("linear-gan", tmp_path, steps=50, checkpoint_every=1, on_collapse="rollback")
    with pytest.raises(Interrupted):
        train(config)
    assert checkpoint.load(tmp_path / "checkpoints")[1]["rollbacks"] == 1


def test_what_the_watch_has_seen_is_remembered(tmp_path):
    config = small_config("dcgan", tmp_path, steps=2, checkpoint_every=2)
    train(config)
    resumed = TrainState(config)
    resumed.load_state_dict(*checkpoint.load(tmp_path / "checkpoints"))
    assert resumed.monitor.greatest > 0
    assert resumed.monitor.state_dict()["diverse"] == 2


def test_the_way_back_differs_from_the_way_there(tmp_path, monkeypatch):
    """The control: with a run that never went wrong it shares what was before the fall, and no more."""
    well = small_config("linear-gan", tmp_path / "well", steps=8, checkpoint_every=2)
    train(well)
    poison(monkeypatch, 6)
    train(small_config("linear-gan", tmp_path / "ill", steps=8, checkpoint_every=2, on_collapse="rollback"))
    records = [
        [
            json.loads(line)["fake_score"]
            for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        ]
        for name in ("well", "ill")
    ]
    assert records[0][:4] == records[1][:4]
    assert records[0][4:] != records[1][4:]


def test_where_all_that_is_kept_is_from_after_the_onset_the_oldest_has_to_do(tmp_path, monkeypatch, capsys):
    told = []

    def gloomy(self, step, scalars):
        if step == 9 and not told:
            told.append(step)
            raise Diverged("it began long ago", onset=1)

    monkeypatch.setattr(Monitor, "losses", gloomy)
    train(
        small_config(
            "linear-gan", tmp_path, steps=10, checkpoint_every=2, keep_checkpoints=3, on_collapse="rollback"
        )
    )
    assert "back to step 4" in capsys.readouterr().err


def test_going_back_has_an_end(tmp_path, monkeypatch):
    poison(monkeypatch, *range(3, 100))
    config = small_config("linear-gan", tmp_path, steps=8, checkpoint_every=2, on_collapse="rollback")
    with pytest.raises(Diverged, match="generator_loss is nan"):
        train(config)
    assert checkpoint.load(tmp_path / "checkpoints")[1]["rollbacks"] == MOST_ROLLBACKS


def test_without_a_checkpoint_there_is_no_way_back(tmp_path, monkeypatch):
    poison(monkeypatch, 1)
    with pytest.raises(Diverged):
        train(small_config("linear-gan", tmp_path, on_collapse="rollback"))


def test_a_run_after_a_fall_resumes_equal_to_the_bit(tmp_path, monkeypatch):
    options = {"steps": 8, "checkpoint_every": 2, "on_collapse": "rollback"}
    with monkeypatch.context() as patch:
        poison(patch, 6)
        train(small_config("linear-gan", tmp_path / "whole", **options))
    with monkeypatch.context() as patch:
        poison(patch, 6)
        train(small_config("linear-gan", tmp_path / "parts", **options | {"steps": 6}))
    # The schedule of the linear GAN is constant, so that a shorter run is the beginning of a longer one.
    train(small_config("linear-gan", tmp_path / "parts", **options))
    assert final(tmp_path / "parts") == final(tmp_path / "whole")


SCORED = [
    ("mlp-gan-vector", "ring8", "total_variation"),
    pytest.param("dcgan", "glyphs", "frechet", marks=pytest.mark.slow),
    ("cyclegan", "glyphs-style", "l1"),
]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize(("name", "data", "score"), SCORED)
def test_scores_along_the_way_do_not_disturb_the_run(
    name, data, score, device, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(features, "STEPS", 5)
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    options = {"data": data, "steps": 4, "device": device}
    train(small_config(name, tmp_path / "plain", **options))
    train(small_config(name, tmp_path / "scored", score_every=2, score_samples=100, **options))
    assert final(tmp_path / "plain") == final(tmp_path / "scored")
    lines = map(json.loads, (tmp_path / "scored" / "metrics.jsonl").read_text().splitlines())
    scores = [(line["step"], line[score]) for line in lines if score in line]
    assert [step for step, _ in scores] == [2, 4]
    assert "last/best" in capsys.readouterr().err


def test_a_real_collapse_is_seen_and_undone(tmp_path, capsys):
    """A discriminator far too fast for its generator saturates: warned of, or undone at lower rates.

    The control is the same run without the fault, which says nothing.
    """
    small = {"image_size": 16, "channels": 1, "width": 4, "latent_size": 8, "batch_size": 16}
    rates = {"well": 2e-4, "warned": 0.02, "undone": 0.02}
    for name, rate in rates.items():
        entry = registry.load("dcgan")(**small, learning_rate=1e-5, discriminator_learning_rate=rate)
        run = TrainConfig(
            steps=60,
            precision="fp32",
            log_every=1,
            checkpoint_every=5,
            keep_checkpoints=20,
            device="cpu",
            out=tmp_path / name,
            on_collapse="rollback" if name == "undone" else "warn",
        )
        try:
            train(RunConfig(name="dcgan", entry=entry, train=run))
        except Diverged:
            assert name == "undone"
        said = capsys.readouterr().err
        assert ("saturated" in said) == (name != "well"), name
        assert ("halved learning rates" in said) == (name == "undone")
