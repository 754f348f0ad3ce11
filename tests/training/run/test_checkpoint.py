import hashlib
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from serving.errors import UserError
from tests.conftest import flips
from training.run import checkpoint

STATE = {
    "weights": {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7, dtype=torch.int64)},
    "groups": [{"lr": 0.1, "betas": (0.5, 0.9), "flag": None, "on": True}],
    "by number": {0: {"step": torch.tensor(3.0)}, 1: {}},
    "random": torch.arange(5, dtype=torch.uint8),
}


def same(a, b) -> bool:
    match a:
        case torch.Tensor():
            return a.dtype == b.dtype and torch.equal(a, b)
        case dict():
            return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
        case list() | tuple():
            return len(a) == len(b) and all(map(same, a, b))
    return a == b


def test_a_state_comes_back_as_it_was(tmp_path):
    checkpoint.save(tmp_path, 12, STATE, keep=2)
    step, state = checkpoint.load(tmp_path)
    assert step == 12
    assert same(STATE, state)


def test_the_last_ones_are_kept(tmp_path):
    for step in (1, 5, 20):
        checkpoint.save(tmp_path, step, STATE | {"step": step}, keep=2)
    assert [path.name[:8] for path in sorted(tmp_path.iterdir())] == ["00000005", "00000020"]


@pytest.mark.parametrize("keep", [1, 2])
def test_after_a_fall_back_the_damaged_later_one_goes_and_the_sound_ones_stay(tmp_path, keep):
    checkpoint.save(tmp_path, 50, STATE, keep=2)
    damaged = checkpoint.save(tmp_path, 100, STATE, keep=2)
    damaged.write_bytes(b"damaged")
    assert checkpoint.load(tmp_path)[0] == 50
    checkpoint.save(tmp_path, 60, STATE | {"step": 60}, keep=keep)
    expected = ["00000060"] if keep == 1 else ["00000050", "00000060"]
    assert [path.name[:8] for path in sorted(tmp_path.iterdir())] == expected


def test_the_best_one_is_kept_beside_the_last_ones(tmp_path):
    for step in (1, 5, 20, 30):
        checkpoint.save(tmp_path, step, STATE | {"step": step}, keep=2, best=1)
    assert checkpoint.steps(tmp_path) == [30, 20, 1]
    checkpoint.save(tmp_path, 40, STATE, keep=2, best=40)
    assert checkpoint.steps(tmp_path) == [40, 30]
    assert checkpoint.load(tmp_path)[0] == 40


@pytest.fixture
def run(tmp_path):
    """A run with three checkpoints, of which the second has the best score."""
    for step, score in ((10, 3.0), (20, 1.0), (30, 2.0), (40, 0.5)):
        line = {"step": step, "frechet": score, "frechet_reference": 0.1}
        with (tmp_path / "metrics.jsonl").open("a") as metrics:
            metrics.write(json.dumps(line) + "\n")
        if step < 40:
            checkpoint.save(tmp_path / "checkpoints", step, {"step": step}, keep=3)
    return tmp_path


def test_a_checkpoint_is_opened_as_newest_best_or_by_its_step(run):
    for which, step in (("newest", 30), ("best", 20), ("10", 10), (10, 10)):
        assert checkpoint.open_checkpoint(run, which) == (step, {"step": step}), which
    assert checkpoint.open_checkpoint(run)[0] == 30


def test_a_checkpoint_that_is_not_kept_is_refused_with_those_that_are(run):
    with pytest.raises(UserError, match=r"step 40 of the run .* is not kept; use newest or .* 30, 20, 10"):
        checkpoint.open_checkpoint(run, 40)
    (best,) = (run / "checkpoints").glob("00000020-*")
    best.unlink()
    with pytest.raises(UserError, match=r"step 20, whose .* not kept; train with --keep-best, .* 30, 10"):
        checkpoint.open_checkpoint(run, "best")
    (run / "metrics.jsonl").unlink()
    with pytest.raises(UserError, match=r"no scores to tell its best .* --score-every and --keep-best"):
        checkpoint.open_checkpoint(run, "best")


@pytest.mark.parametrize("which", ["worst", "", "-1", "1.5", "\u0663", "9" * 30])
def test_what_names_no_checkpoint_is_refused(which, run):
    with pytest.raises(UserError, match="checkpoint must be newest, best or a step; got"):
        checkpoint.open_checkpoint(run, which)


@pytest.mark.parametrize("which", ["newest", "best", 10])
def test_a_run_without_checkpoints_is_said_so(which, tmp_path):
    with pytest.raises(UserError, match="has no checkpoint; train it first"):
        checkpoint.open_checkpoint(tmp_path, which)


def test_a_damaged_checkpoint_is_not_taken_for_another(run):
    """The newest intact one is what a resume takes; one that is asked for by its step is that one or none."""
    for path in (run / "checkpoints").iterdir():
        if not path.name.startswith("00000010"):
            path.write_bytes(b"damaged")
    assert checkpoint.open_checkpoint(run)[0] == 10
    for which in ("best", 20):
        with pytest.raises(UserError, match=r"00000020.* is damaged"):
            checkpoint.open_checkpoint(run, which)


def test_a_run_and_its_checkpoint_are_parsed(tmp_path):
    assert checkpoint.parse_source("runs/a") == (Path("runs/a"), "newest")
    assert checkpoint.parse_source("runs/a@30") == (Path("runs/a"), "30")
    assert checkpoint.parse_source(Path("runs/a@best")) == (Path("runs/a"), "best")
    assert checkpoint.parse_source("runs@home/a") == (Path("runs@home/a"), "newest")
    (tmp_path / "b@30").mkdir()
    assert checkpoint.parse_source(tmp_path / "b@30") == (tmp_path / "b@30", "newest")
    assert checkpoint.parse_source(tmp_path / "b@30@best") == (tmp_path / "b@30", "best")


def test_an_empty_folder_has_none(tmp_path):
    assert checkpoint.load(tmp_path / "none") is None


def test_every_flipped_bit_is_found(tmp_path):
    checkpoint.save(tmp_path, 1, STATE, keep=2)
    newest = checkpoint.save(tmp_path, 2, STATE, keep=2)
    whole = newest.read_bytes()
    for flipped in flips(whole, 200):
        newest.write_bytes(flipped)
        step, state = checkpoint.load(tmp_path)
        assert step == 1
        assert same(STATE, state)


def test_a_flipped_bit_without_a_digest_goes_unseen(tmp_path):
    """The control: the file format alone takes most damage for weights."""
    path = checkpoint.save(tmp_path, 1, STATE, keep=1)
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    assert checkpoint.unpack(bytes(damaged))["by number"].keys() == {0, 1}


def test_damage_is_named_and_all_damaged_is_refused(tmp_path, capsys):
    path = checkpoint.save(tmp_path, 1, STATE, keep=1)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="every checkpoint"):
        checkpoint.load(tmp_path)
    assert path.name in capsys.readouterr().err


def test_what_it_cannot_hold_is_refused(tmp_path):
    with pytest.raises(TypeError, match="object"):
        checkpoint.save(tmp_path, 1, {"thing": object()}, keep=1)


def test_random_state_comes_back():
    cpu = torch.device("cpu")
    state = checkpoint.random_state(cpu)
    first = torch.randn(3)
    checkpoint.restore_random_state(state, cpu)
    assert torch.equal(first, torch.randn(3))


@pytest.mark.parametrize(
    "tree",
    [
        None,
        "",
        "null",
        "[]",
        '{"dict": 3}',
        '{"dict": [[1]]}',
        '{"tensor": "b"}',
        '{"tensor": []}',
        "[" * 9_999,
    ],
)
def test_an_intact_file_of_other_content_is_named(tree, tmp_path):
    """As a later version could write it: the hash is right."""
    data = safetensors.torch.save({"a": torch.zeros(1)}, None if tree is None else {"tree": tree})
    (tmp_path / f"00000007-{hashlib.sha256(data).hexdigest()[:32]}.safetensors").write_bytes(data)
    with pytest.raises(
        UserError, match=r"the checkpoint of step 7 in .* can't be restored by this version: ."
    ):
        checkpoint.load(tmp_path)
