import dataclasses
import json
import shutil

import pytest

from tests.conftest import small_config
from training.evaluation.compare import compare, table
from training.loop.train import train


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Two seeds of one method and one of another, scored as they went."""
    root = tmp_path_factory.mktemp("scored")
    options = {"data": "ring8", "steps": 4, "score_every": 2, "score_samples": 500}
    for seed, every in ((0, 1), (1, 3)):
        bookkeeping = {"seed": seed, "log_every": every, "checkpoint_every": every}
        train(small_config("mlp-gan-vector", root / f"plain-{seed}", **options | bookkeeping))
    other = small_config("mlp-gan-vector", root / "hinge", **options)
    train(dataclasses.replace(other, entry=dataclasses.replace(other.entry, objective="hinge")))
    return root


def values(folder, name):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line[name] for line in lines if name in line]


def test_rows_are_methods_over_their_seeds(scored):
    rows = compare(sorted(scored.iterdir()))
    (row,) = (row for row in rows if row.changes)
    assert row.changes == {"objective": "relativistic"}, "only what differs from the first is named"
    (first,) = (row for row in rows if not row.changes)
    assert (first.by_first, row.by_first) == (1, pytest.approx(row.last / first.last))
    runs = [values(scored / f"plain-{seed}", "total_variation") for seed in (0, 1)]
    assert (row.seeds, row.steps, row.score) == ([0, 1], 4, "total_variation")
    assert row.last == pytest.approx(sum(run[-1] for run in runs) / 2)
    assert row.last_by_best == pytest.approx(max(run[-1] / min(run) for run in runs))
    assert row.spread == pytest.approx(abs(runs[0][-1] - runs[1][-1]) / 2**0.5)
    assert 0 < row.reference < 0.2
    assert row.samples_per_second > 0
    text = table(rows)
    assert text.count("\n") == 3
    assert "objective relativistic" in text
    assert "none (baseline)" in text


def test_the_best_comes_first(scored):
    rows = compare(sorted(scored.iterdir()))
    assert [row.last for row in rows] == sorted(row.last for row in rows)


def test_one_method_alone_needs_no_name(scored):
    assert "none (baseline)" in table(compare([scored / "plain-0"]))


def test_runs_of_other_lengths_stand_apart(tmp_path, scored):
    options = {"data": "ring8", "score_every": 2, "score_samples": 500}
    train(small_config("mlp-gan-vector", tmp_path / "short", **options | {"steps": 2}))
    rows = compare([scored / "plain-0", tmp_path / "short"])
    assert sorted(row.steps for row in rows) == [2, 4]


def test_a_run_that_is_not_finished_is_refused(scored, tmp_path):
    part = shutil.copytree(scored / "plain-0", tmp_path / "part")
    lines = (part / "metrics.jsonl").read_text().splitlines()
    (part / "metrics.jsonl").write_text("\n".join(lines[:2]) + "\n")
    with pytest.raises(ValueError, match="is not finished"):
        compare([part])


def test_runs_without_scores_are_refused(tmp_path, scored):
    train(small_config("linear-gan", tmp_path / "run"))
    with pytest.raises(ValueError, match="--score-every"):
        compare([tmp_path / "run"])
    with pytest.raises(ValueError, match="holds no run"):
        compare([tmp_path])


def test_a_precision_is_a_method(tmp_path):
    options = {"data": "ring8", "steps": 2, "score_every": 2, "score_samples": 500}
    for precision in ("fp32", "bf16"):
        train(small_config("mlp-gan-vector", tmp_path / precision, precision=precision, **options))
    rows = compare([tmp_path / "fp32", tmp_path / "bf16"])
    assert sorted(row.changes.get("precision", "") for row in rows) == ["", "bf16"]
