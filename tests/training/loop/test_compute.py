"""Precision, fused updates and compilation: equal where they must be, close where they may differ."""

import dataclasses
import math
import os
import shutil
import subprocess
import sys

import pytest
import torch

from tests.conftest import EVERY, small_config
from tests.training.loop.test_train import final
from training.data.dataset import open_data
from training.data.loader import open_loader
from training.loop.monitor import must_be_finite
from training.loop.state import TrainState
from training.loop.train import train
from training.run import checkpoint
from training.run.config import RunConfig
from training.run.train_config import TrainConfig
from zoo.models.mlp_gan import MLPGAN

LOW = {"precision": "bf16"}


def stepped(config: RunConfig, steps: int) -> tuple[TrainState, list[dict[str, float]]]:
    """Train some steps in memory; give the losses."""
    state, data = (
        TrainState(config),
        open_data(config.train.data, config.entry.sample_shape, config.train.seed),
    )
    return state, [{name: float(value) for name, value in state.step(data).items()} for _ in range(steps)]


@pytest.mark.parametrize("name", EVERY)
def test_bf16_follows_fp32_and_its_weights_and_losses_are_float32(name, tmp_path):
    for run in ({}, LOW):
        config = small_config(name, tmp_path, **run)
        state, losses = stepped(config, 1)
        if not run:
            exact = losses[0]
    assert losses[0] == pytest.approx(exact, rel=0.2, abs=0.05)
    assert losses[0] != exact, "the control: it is another precision"
    players = (state.trainer.generators, state.trainer.discriminators, state.average.generators)
    assert {value.dtype for player in players for value in player.parameters()} == {torch.float32}
    state.draw_preview(data := open_data(config.train.data, config.entry.sample_shape, 0))
    scalars = state.step(data)
    assert {value.dtype for value in scalars.values()} == {torch.float32}
    must_be_finite(2, {name: float(value) for name, value in scalars.items()}, *players)
    assert state.look().dtype == torch.float32


@pytest.mark.parametrize("name", ["dcgan", "wgan-gp", "cyclegan", "sngan"])
def test_a_run_in_bf16_resumes_equal_to_the_bit(name, tmp_path):
    options = LOW | {"steps": 4, "checkpoint_every": 2}
    for folder in ("whole", "resumed"):
        train(small_config(name, tmp_path / folder, **options))
    (tmp_path / "resumed" / "checkpoints" / final(tmp_path / "resumed")).unlink()
    train(small_config(name, tmp_path / "resumed", **options))
    assert final(tmp_path / "resumed") == final(tmp_path / "whole")
    assert RunConfig.read(tmp_path / "resumed").train.precision == "bf16", "and is remembered"


def test_another_precision_is_another_run(tmp_path):
    train(small_config("linear-gan", tmp_path))
    with pytest.raises(ValueError, match=r"precision is fp32 in its run\.json; got bf16"):
        train(small_config("linear-gan", tmp_path, **LOW))


def test_every_update_is_seen_by_the_next_forward(tmp_path):
    """The control: one autocast round a step casts the weights once, and goes on with those of before."""
    entry = MLPGAN(shape=(2,), discriminator_steps=3, optimizer="sgd", learning_rate=1.0, batch_size=8)
    run = TrainConfig(data="ring8", device="cpu", precision="fp32", out=tmp_path)
    config = RunConfig(name="mlp-gan", entry=entry, train=run)
    data = open_data("ring8", (2,), 0)
    exact, low = (
        TrainState(dataclasses.replace(config, train=dataclasses.replace(config.train, **run))).step(data)
        for run in ({}, LOW)
    )
    plain = TrainState(config)
    with torch.autocast("cpu", torch.bfloat16):
        stale = plain.step(data)
    distance = [abs(each["fake_score"] - exact["fake_score"]).item() for each in (low, stale)]
    assert distance[0] < distance[1] / 2


def test_updates_are_fused_and_learn_what_others_learn(tmp_path):
    config = small_config("dcgan", tmp_path)
    entry = dataclasses.replace(config.entry, regularizer_interval=1, learning_rate=2e-3)
    config = dataclasses.replace(config, entry=entry)
    fused, plain = TrainState(config), TrainState(config)
    data = open_data(config.train.data, config.entry.sample_shape, 0)
    for optimizer in plain.trainer.optimizers.values():
        for group in optimizer.param_groups:
            assert group["fused"]
            group["fused"] = False
    for state in (fused, plain):
        torch.manual_seed(0)
        state.step(data)
    one, other = (
        torch.nn.utils.parameters_to_vector(each.trainer.generators.parameters()) for each in (fused, plain)
    )
    # Adam divides gradients of next to nothing by next to nothing: of a step, their rounding may be a part.
    torch.testing.assert_close(one, other, rtol=0, atol=config.entry.learning_rate / 10)
    assert (one - other).abs().mean() < config.entry.learning_rate / 1e5


def test_what_an_optimizer_remembers_is_laid_out_as_its_weights(tmp_path):
    """Fused updates go through memory as it is: another order would mix the moments of the weights up."""
    config = small_config("dcgan", tmp_path)
    state = TrainState(config)
    for players in (state.trainer.generators, state.trainer.discriminators):
        players.to(memory_format=torch.channels_last)
    state.draw_preview(data := open_data(config.train.data, config.entry.sample_shape, 0))
    state.step(data)
    checkpoint.save(tmp_path, 1, state.state_dict(), keep=1)
    state.load_state_dict(*checkpoint.load(tmp_path))
    for optimizer in state.trainer.optimizers.values():
        for parameter, state in optimizer.state.items():
            assert state["exp_avg"].stride() == parameter.stride()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="there is no C++ compiler")
def test_a_compiled_run_learns_the_same_and_resumes_equal_to_the_bit(tmp_path):
    """It has gradients of gradients too, which compiled code can't have."""

    def learn(folder: str, *flags: str) -> None:
        command = [sys.executable, "-m", "training", "train", "mlp-gan-vector", "--device", "cpu", *flags]
        command += ["--data", "ring8", "--batch-size", "4", "--steps", "4", "--checkpoint-every", "2"]
        command += ["--precision", "fp32"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run([*command, "--out", str(tmp_path / folder)], env=environment, check=True, timeout=300)

    learn("plain")
    learn("whole", "--compile")
    learn("resumed", "--compile")
    (tmp_path / "resumed" / "checkpoints" / final(tmp_path / "resumed")).unlink()
    learn("resumed", "--compile")
    assert final(tmp_path / "resumed") == final(tmp_path / "whole")
    plain, whole = (checkpoint.load(tmp_path / each / "checkpoints")[1] for each in ("plain", "whole"))
    for key, value in plain["generators"].items():
        torch.testing.assert_close(value, whole["generators"][key], rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["dcgan", "cyclegan", "wgan-gp", "mlp-gan-vector"])
@pytest.mark.parametrize("run", [{}, LOW])
def test_a_step_on_cuda_waits_for_nothing(name, run, tmp_path):
    config = small_config(name, tmp_path, device="cuda", **run)
    state = TrainState(config)
    data = open_data(config.train.data, config.entry.sample_shape, 0)
    with open_loader(data, state.device, 2) as batches:
        assert (batches is data) == (data.nbytes < math.inf), "both kinds are tried"
        state.step(batches)
        torch.cuda.set_sync_debug_mode("error")
        try:
            state.step(batches)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.parametrize("run", [LOW, LOW | {"compile": True}])
def test_a_run_in_bf16_on_cuda_resumes(run, tmp_path):
    config = small_config("dcgan", tmp_path, steps=4, checkpoint_every=2, device="cuda", **run)
    train(config)
    (tmp_path / "checkpoints" / final(tmp_path)).unlink()
    train(config)
    assert checkpoint.load(tmp_path / "checkpoints")[0] == 4
