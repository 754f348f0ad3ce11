"""Runs on several processes, started by torchrun as users start them, held against runs on one."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.loop.test_train import final
from training.loop.distributed import World
from training.loop.train import train
from training.run import checkpoint
from training.run.config import RunConfig
from training.run.scores import read_scores
from zoo.translation import TranslationEntry

NARROW = ["--width", "8", "--image-size", "16", "--channels", "1", "--latent-size", "8", "--batch-size", "8"]
# Adam makes a step of what is nothing but rounding, as the gradient of a bias before a normalisation.
PLAIN = ["--optimizer", "sgd", "--learning-rate", "0.01", "--steps", "20"]
ADAPTIVE = [
    "--augment",
    "translation",
    "cutout",
    "colour",
    "--augment-target",
    "0.1",
    "--augment-ramp",
    "0.2",
]
GAMES = {
    # Gradients of gradients, real and fake in pairs.
    "mlp-gan-vector": ["--data", "ring8", "--batch-size", "8", *PLAIN],
    # Several updates a step; random points between real and fake; transforms drawn within a player, which
    # adapt to the scores of all.
    "wgan-gp": [*NARROW, *PLAIN, *ADAPTIVE, "--sync-batch-norm"],
    "dcgan": [*NARROW, *PLAIN, "--sync-batch-norm"],
    # A label beside the input, and a power iteration in the discriminator.
    "cdcgan": [*NARROW, *PLAIN, "--sync-batch-norm", "--spectral-norm"],
}
STYLES = ["--image-size", "32", "32", "--width", "8", "--batch-size", "2", "--discriminator-layers", "1"]
TRANSLATIONS = {
    # Pools that are full after two steps.
    "cyclegan": [*STYLES, "--translator", "resnet-6", "--data", "glyphs-style", "--pool-size", "4"],
    # Dropout, in the middle of a U-Net.
    "pix2pix": [*STYLES, "--translator", "unet-32", "--data", "glyphs-pairs"],
}


def command(count: int, name: str, folder: Path, *flags: object, program: tuple[str, ...] = ()) -> list[str]:
    """A run on so many processes of this machine."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    fixed = ["--device", "cpu", "--precision", "fp32", "--log-every", "1", "--out", folder]
    return [*start, *(program or ("-m", "training")), "train", name, *map(str, [*fixed, *flags])]


def torchrun(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    line = command(*arguments, **options)
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300)


def run(*arguments: object, **options: object) -> str:
    """Run to the end; give what was said on standard error."""
    done = torchrun(*arguments, **options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(arguments[2])], "the first alone says where the run is"
    return done.stderr


def alone(folder: Path, of: Path) -> Path:
    """Train the same on one process."""
    config = RunConfig.read(of)
    train(replace(config, train=replace(config.train, out=folder)))
    return folder


def distance(one: Path, other: Path) -> float:
    """The greatest difference between the weights of two runs."""
    states = [checkpoint.load(folder / "checkpoints")[1] for folder in (one, other)]
    return max(
        (states[0][part][key] - states[1][part][key]).abs().max().item()
        for part in ("generators", "discriminators", "average")
        for key in states[0][part]
    )


def losses(folder: Path) -> list[dict[str, float]]:
    """What a run has logged, but for its speed."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{name: line[name] for name in line.keys() - {"samples_per_second"}} for line in lines]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name != "wgan-gp" else name for name in GAMES],
)
def test_two_processes_learn_what_one_learns(name, tmp_path):
    run(2, name, tmp_path / "two", *GAMES[name])
    alone(tmp_path / "one", tmp_path / "two")
    assert distance(tmp_path / "one", tmp_path / "two") < 1e-6
    assert len(losses(tmp_path / "two")) == 20
    probabilities = [line.get("augment_probability") for line in losses(tmp_path / "two")]
    assert len(set(probabilities)) > 1 or name != "wgan-gp", "it adapted"


CHANGED = """
import sys
import torch
from training.loop import distributed
from training.__main__ import main
from zoo.translation import TranslationEntry
{}
sys.exit(main(sys.argv[1:]))
"""


def changed(folder: Path, change: str) -> tuple[str, ...]:
    """The program with a line of it changed."""
    program = folder / "changed.py"
    program.write_text(CHANGED.format(change))
    return (str(program),)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRANSLATIONS)
def test_two_processes_translate_as_one_does(name, tmp_path, monkeypatch):
    # Where a distance is about 0 its gradient is a sign, which rounding turns: slow descent keeps that small.
    descent = "lambda self, players: torch.optim.SGD(players.parameters(), lr=1e-5)"
    program = changed(tmp_path, f"TranslationEntry.make_optimizer = {descent}")
    run(2, name, tmp_path / "two", "--steps", 20, *TRANSLATIONS[name], program=program)
    monkeypatch.setattr(
        TranslationEntry,
        "make_optimizer",
        lambda self, players: torch.optim.SGD(players.parameters(), lr=1e-5),
    )
    alone(tmp_path / "one", tmp_path / "two")
    assert distance(tmp_path / "one", tmp_path / "two") < 1e-4
    for two, one in zip(losses(tmp_path / "two"), losses(tmp_path / "one"), strict=True):
        assert two == pytest.approx(one, rel=1e-3)
    if name == "cyclegan":
        pools = [checkpoint.load(tmp_path / each / "checkpoints")[1]["trainer"] for each in ("one", "two")]
        for one, two in zip(*(pool["pool_a"] for pool in pools), strict=True):
            assert (one - two).abs().max() < 0.05, "and the same images in the pools"


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        "distributed.World.all_reduce_gradients = lambda self, trainer: None",
        "distributed._SharedRandom.__torch_function__ = lambda self, function, types, given=(), named=None: "
        "function(*given, **(named or {}))",
        "distributed.World.average = lambda self, value: value",
    ],
    ids=["gradients", "draws", "statistics"],
)
def test_without_what_they_share_they_learn_something_else(fault, tmp_path):
    """The control."""
    run(2, "wgan-gp", tmp_path / "two", *GAMES["wgan-gp"], program=changed(tmp_path, fault))
    alone(tmp_path / "one", tmp_path / "two")
    assert distance(tmp_path / "one", tmp_path / "two") > 1e-4


@pytest.mark.slow
def test_two_processes_start_from_another_run_as_one_does(tmp_path):
    """With frozen layers, whose gradients are none."""
    run(1, "dcgan", tmp_path / "parent", *GAMES["dcgan"])
    flags = ["--from", tmp_path / "parent", "--freeze-discriminator", 1]
    run(2, "dcgan", tmp_path / "two", *GAMES["dcgan"], *flags)
    alone(tmp_path / "one", tmp_path / "two")
    assert distance(tmp_path / "one", tmp_path / "two") < 1e-6
    before, after = (
        checkpoint.load(tmp_path / name / "checkpoints")[1]["discriminators"] for name in ("parent", "two")
    )
    same = [name for name, value in before.items() if torch.equal(value, after[name])]
    assert [name for name in same if name.endswith("weight")] == [
        "discriminator.discriminator.stages.0.weight"
    ]


@pytest.mark.slow
def test_another_number_of_processes_goes_on_where_one_stopped(tmp_path):
    """One process, then two; and two processes again, to the bit."""
    flags = [*GAMES["mlp-gan-vector"], "--schedule", "constant", "--steps"]
    for folder, parts in (("mixed", [(1, 10), (2, 20)]), ("two", [(2, 20)]), ("again", [(2, 10), (2, 20)])):
        for count, steps in parts:
            run(count, "mlp-gan-vector", tmp_path / folder, *flags, steps)
    assert distance(tmp_path / "mixed", tmp_path / "two") < 1e-6
    assert final(tmp_path / "again") == final(tmp_path / "two")


def test_all_processes_train_in_the_precision_that_one_has_measured(tmp_path):
    """By a measurement that differs on every process, and a control in which none has bf16."""
    faster = """
from training.loop import autotune
autotune.has_bf16 = lambda device: True
def measure(trials, clock):
    assert {len(trial.batch(0, 4)["real"]) for trial in trials.values()} == {4}
    return {way: 1.0 if way.precision == "bf16" else 3.0 for way in trials}
autotune.measure = measure
"""
    none = """
from training.loop import autotune
from training.loop.distributed import World
of_world = World.device_for
def device_for(self, device):
    autotune.has_bf16 = lambda device: self.rank == 0
    return of_world(self, device)
World.device_for = device_for
"""
    flags = ["--precision", "auto", "--data", "ring8", "--batch-size", "8", "--steps", "2"]
    for fault, expected in ((faster, "bf16"), (none, "fp32")):
        folder = tmp_path / expected
        said = run(2, "mlp-gan-vector", folder, *flags, program=changed(tmp_path, fault))
        assert RunConfig.read(folder).train.precision == expected
        note = "note: precision bf16, contiguous: steps are 3.00 times as fast"
        assert said.count(note) == (expected == "bf16")
        assert distance(folder, alone(tmp_path / f"{expected}-alone", folder)) < 1e-2


def test_a_batch_that_cannot_be_parted_is_refused(tmp_path):
    done = torchrun(2, "mlp-gan", tmp_path / "run", "--batch-size", 7)
    assert done.returncode != 0
    assert "batch_size must be a multiple of the number of processes, 2; got 7" in done.stderr
    World(0, 7).must_divide(7)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_once_and_the_run_goes_on(number, tmp_path):
    flags = ["--data", "ring8", "--batch-size", "8", "--steps"]
    line = command(2, "mlp-gan-vector", tmp_path / "stopped", *flags, 100000)
    process = subprocess.Popen(
        line, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True
    )
    metrics = tmp_path / "stopped" / "metrics.jsonl"
    give_up = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text().count("\n") > 5):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < give_up
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    assert said.count(f"stopped by {number.name}; a checkpoint is saved") == 1, said
    (step,) = checkpoint.steps(tmp_path / "stopped" / "checkpoints")
    assert step == losses(tmp_path / "stopped")[-1]["step"]


@pytest.mark.slow
def test_an_error_of_one_ends_all(tmp_path):
    fault = """
from serving.errors import UserError
def broken(self, trainer):
    if self.rank == 1:
        raise UserError("a bad day")
distributed.World.all_reduce_gradients = broken
"""
    start = time.monotonic()
    done = torchrun(2, "mlp-gan", tmp_path / "run", program=changed(tmp_path, fault))
    assert done.returncode != 0
    assert "ganzoo: a bad day" in done.stderr
    assert time.monotonic() - start < 60


@pytest.mark.slow
def test_trouble_is_everybodys(tmp_path):
    """The first process finds numbers that are none; both go back, and on to the end."""
    fault = """
from zoo.adversarial import TwoPlayer
step, calls = TwoPlayer.step, []
def poisoned(self, batch):
    calls.append(1)
    return step(self, batch) | ({"generator_loss": torch.tensor(float("nan"))} if len(calls) == 6 else {})
TwoPlayer.step = poisoned
"""
    flags = ["--data", "ring8", "--batch-size", 8, "--steps", 8, "--checkpoint-every", 2]
    flags += ["--on-collapse", "rollback", "--score-every", 4, "--score-samples", 100]
    said = run(2, "mlp-gan-vector", tmp_path / "run", *flags, program=changed(tmp_path, fault))
    assert said.count("rolled back to step 4 with halved learning rates") == 1
    step, state = checkpoint.load(tmp_path / "run" / "checkpoints")
    assert (step, state["rollbacks"]) == (8, 1)


@pytest.mark.slow
def test_patience_ends_all_processes_and_the_best_is_kept(tmp_path):
    """Only the first process scores; both stop after the same step, and a resume does not begin another."""
    flags = ["--data", "ring8", "--batch-size", 8, "--steps", 100, "--checkpoint-every", 5]
    flags += ["--score-every", 2, "--score-samples", 100, "--patience", 3, "--keep-best"]
    said = run(2, "mlp-gan-vector", tmp_path / "run", *flags)
    scores = read_scores(tmp_path / "run")
    end = scores.best.step + 6
    assert end < 100, "it was stopped"
    assert said.count(f"stopped at step {end} by --patience 3") == 1
    steps = checkpoint.steps(tmp_path / "run" / "checkpoints")
    assert (steps[0], scores.best.step in steps) == (end, True)
    assert f"stopped at step {end}" in run(2, "mlp-gan-vector", tmp_path / "run", *flags)
    assert checkpoint.steps(tmp_path / "run" / "checkpoints") == steps
