"""The best checkpoint is kept, patience ends a run, and a longer run has its schedule."""

import dataclasses
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import small_config
from tests.training.loop.test_train import final, poison
from training.evaluation.compare import compare
from training.loop.averaged import open_averaged
from training.loop.train import train
from training.run import checkpoint
from training.run.config import RunConfig
from training.run.scores import Scores, read_scores
from training.run.train_config import TrainConfig

ROOT = Path(__file__).parents[3]


def config(folder: Path, **run: object) -> RunConfig:
    """A run whose scores are best between two of its regular checkpoints, and not at its end."""
    options: dict[str, object] = {"steps": 24, "checkpoint_every": 5, "score_every": 2, "score_samples": 500}
    return small_config("mlp-gan-vector", folder, data="ring8", **options | run)


def kept(folder: Path) -> list[int]:
    return checkpoint.steps(folder / "checkpoints")


def names(folder: Path) -> list[str]:
    """The names of the checkpoints, which hold the digests of every bit of the states."""
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def scores(folder: Path) -> Scores:
    found = read_scores(folder)
    assert found
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopping") / "whole"
    train(config(folder, keep_best=True))
    best = scores(folder).best.step
    assert best % 5, "it is not at a regular checkpoint"
    assert best < 14, "and not among the newest ones"
    return folder


def test_the_best_is_kept_beside_the_newest(whole, tmp_path, capsys):
    best = scores(whole).best.step
    assert kept(whole) == [24, 20, best]
    train(config(tmp_path / "plain"))
    assert kept(tmp_path / "plain") == [24, 20], "the control"
    assert "the best is not kept; --keep-best keeps it" in capsys.readouterr().err
    assert final(tmp_path / "plain") == final(whole), "keeping does not disturb the run"


def test_the_end_of_a_run_says_how_to_export_the_best(tmp_path, capsys):
    train(config(tmp_path, keep_best=True))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "last/best" in line]
    assert f"best {scores(tmp_path).best.value:.4g} at step {scores(tmp_path).best.step}," in line
    assert line.endswith(f"`ganzoo export {tmp_path} --checkpoint best` exports the best")


def test_the_best_is_what_it_was_at_its_step(whole, tmp_path):
    step, state = checkpoint.open_checkpoint(whole, "best")
    assert step == scores(whole).best.step
    train(config(tmp_path, steps=step, schedule_steps=24))
    assert final(tmp_path) in names(whole), "as of a run that ends there, to the bit"
    assert open_averaged(whole, "best").steps == step == open_averaged(whole, step).steps
    assert open_averaged(whole).steps == 24
    assert state["average"].keys() == checkpoint.open_checkpoint(whole)[1]["average"].keys()


KILLED = """
import os, pathlib, signal, sys
from tests.training.loop.test_stopping import config
from training.loop.train import train
from training.run import checkpoint

moment, step, folder = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
save, unlink, saving = checkpoint.save, pathlib.Path.unlink, [0]

def save_or_die(place, at, *arguments):
    saving[0] = at
    if (moment, at) == ("before the checkpoint", step):
        os.kill(os.getpid(), signal.SIGKILL)
    return save(place, at, *arguments)

def unlink_or_die(path, *arguments, **options):
    if moment == "before pruning" and saving[0] >= step and path.parent.name == "checkpoints":
        os.kill(os.getpid(), signal.SIGKILL)
    return unlink(path, *arguments, **options)

checkpoint.save, pathlib.Path.unlink = save_or_die, unlink_or_die
train(config(folder, keep_best=True))
"""


@pytest.mark.parametrize(
    ("moment", "after"),
    [
        ("before the checkpoint", 0),
        ("before pruning", 0),
        pytest.param("before the checkpoint", 24, marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_resumes_with_its_best_to_the_bit(moment, after, whole, tmp_path):
    """Between the line of its best score and its checkpoint, between a checkpoint and pruning, at the end."""
    step = after or scores(whole).best.step
    command = [sys.executable, "-c", KILLED, moment, str(step), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert names(tmp_path) != names(whole)
    open_averaged(tmp_path, "best")
    train(config(tmp_path, keep_best=True))
    assert names(tmp_path) == names(whole)


def test_without_the_flag_a_resume_lets_the_best_go(whole, tmp_path):
    train(config(tmp_path, steps=20, keep_best=True))
    best = scores(whole).best.step
    assert best in kept(tmp_path)
    train(config(tmp_path))
    assert best not in kept(tmp_path)
    with pytest.raises(
        ValueError, match=rf"is that of step {best}, whose .* not kept; train with --keep-best"
    ):
        open_averaged(tmp_path, "best")


def test_a_rollback_keeps_the_best(whole, tmp_path, monkeypatch, capsys):
    best = scores(whole).best
    poison(monkeypatch, 23)
    train(config(tmp_path, keep_best=True, on_collapse="rollback"))
    assert "rolled back to step 20" in capsys.readouterr().err
    assert scores(tmp_path).best.step in kept(tmp_path)
    assert scores(tmp_path).history[: best.step // 2] == scores(whole).history[: best.step // 2]


def test_patience_ends_a_run_and_a_resume_says_so(whole, tmp_path, capsys):
    best = scores(whole).best.step
    train(config(tmp_path, patience=3, keep_best=True, sheet_every=100))
    end = best + 6
    said = (
        f"stopped at step {end} by --patience 3: no later score was better than that of step {best}; raise "
        "or remove --patience to train on\n"
    )
    assert said in capsys.readouterr().err
    assert kept(tmp_path)[0] == end
    assert best in kept(tmp_path)
    assert (tmp_path / "sheets" / f"{end:08d}-generator.png").exists()
    before = names(tmp_path)
    train(config(tmp_path, patience=3, keep_best=True, steps=50))
    assert capsys.readouterr().err == said
    assert names(tmp_path) == before
    train(config(tmp_path, patience=4, keep_best=True))
    assert kept(tmp_path)[0] > end


def test_without_patience_a_stopped_run_ends_as_if_it_had_not_been_stopped(whole, tmp_path):
    train(config(tmp_path, patience=3))
    assert final(tmp_path) != final(whole)
    train(config(tmp_path))
    assert final(tmp_path) == final(whole)


def test_a_run_stopped_by_patience_is_finished(whole, tmp_path):
    train(config(tmp_path, patience=3))
    (row,) = compare([tmp_path])
    assert row.last == scores(tmp_path).last.value
    train_config = dataclasses.replace(RunConfig.read(tmp_path).train, patience=0)
    dataclasses.replace(RunConfig.read(tmp_path), train=train_config).write()
    with pytest.raises(ValueError, match="is not finished"):
        compare([tmp_path])


@pytest.mark.parametrize("options", [{"keep_best": True}, {"patience": 2}])
def test_what_needs_scores_is_refused_without(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"{name} needs scores .* use --score-every"):
        TrainConfig(**options)


def rates(folder: Path) -> list[float]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line["generator_learning_rate"] for line in lines if "generator_learning_rate" in line]


def linear(folder: Path, **run: object) -> RunConfig:
    made = small_config("mlp-gan", folder, **run)
    return dataclasses.replace(
        made, entry=dataclasses.replace(made.entry, schedule="linear", learning_rate=1.0)
    )


def test_a_longer_run_says_that_the_rates_jump_and_logs_them(tmp_path, capsys):
    train(linear(tmp_path, steps=4))
    assert "note" not in capsys.readouterr().err
    train(linear(tmp_path, steps=8))
    assert re.search(r"note: .* 8 steps instead of 4, .* rise from 0% to 50%", capsys.readouterr().err)
    assert rates(tmp_path) == pytest.approx([1, 0.75, 0.5, 0.25, 0.5, 0.375, 0.25, 0.125])
    train(linear(tmp_path, steps=8))
    assert "note" not in capsys.readouterr().err, "said once"


def test_a_run_in_parts_with_one_schedule_is_the_run_in_one(tmp_path, capsys):
    train(linear(tmp_path / "whole", steps=8))
    for steps in (4, 8):
        train(linear(tmp_path / "parts", steps=steps, schedule_steps=8))
    assert "note" not in capsys.readouterr().err
    assert final(tmp_path / "parts") == final(tmp_path / "whole")
    for steps in (4, 8):
        train(linear(tmp_path / "jump", steps=steps))
    assert final(tmp_path / "jump") != final(tmp_path / "whole"), "the control"
