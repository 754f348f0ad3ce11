"""The pretrained zoo: what comes with the project is whole, small, measured, and told of."""

import json
import shutil

import pytest

from serving.offline.verify import verify
from serving.runtime.artifact import read_manifest
from serving.runtime.manifest import MANIFEST_FILE, Evaluation, ManifestError
from serving.runtime.pretrained import find_artifact, pretrained, table
from tests.conftest import PRETRAINED
from training.__main__ import main
from training.artifacts.model_card import describe


@pytest.mark.parametrize("name", PRETRAINED)
def test_each_is_whole_and_measured(name):
    folder = find_artifact(name)
    assert any("PyTorch" in line for line in verify(folder))
    manifest = read_manifest(folder)
    assert manifest.metrics, "ganzoo evaluate was not run"
    assert (folder / "README.md").read_text() == describe(manifest)
    assert manifest.licence != "unknown"
    assert {f"{graph}.png" for graph in manifest.graphs} <= {path.name for path in folder.iterdir()}


def test_all_are_small():
    rows = [row for row in pretrained() if row.name in PRETRAINED]
    assert all(row.megabytes <= 8 for row in rows)
    assert sum(row.megabytes for row in rows) <= 38


def test_each_is_told_beside_a_control_that_it_may_be_held_against():
    rows = [row for row in pretrained() if row.name in PRETRAINED]
    assert {(row.score, row.control) for row in rows} == {("frechet", "real"), ("a2b_l1", "recoloured")}
    assert all(row.value < row.reference for row in rows if row.control == "recoloured")


def test_they_are_listed_with_their_scores(artifacts, tmp_path, monkeypatch, capsys):
    for name in ("points", "styles"):
        shutil.copytree(artifacts / name, tmp_path / name)
    manifest = read_manifest(tmp_path / "points")
    evaluation = Evaluation(
        data="gaussian2d",
        samples=10,
        seed=0,
        features=None,
        scores={"other": 2.0, "wasserstein2": 0.12345},
        controls={"real": {"wasserstein2": 0.01}},
    )
    measured = manifest.model_copy(update={"metrics": [evaluation]})
    (tmp_path / "points" / MANIFEST_FILE).write_bytes(measured.to_json())
    points, styles = pretrained(tmp_path)
    assert (points.score, points.value) == ("wasserstein2", 0.12345)
    assert (points.control, points.reference) == ("real", 0.01)
    assert (styles.entry, styles.score, styles.value, styles.control) == ("cyclegan", "", None, "")
    assert points.megabytes < styles.megabytes < 1
    assert ["points", "linear-gan", "gaussian2d", "0.0", "wasserstein2", "0.1235", "real", "0.01"] in [
        line.split() for line in table([points, styles]).splitlines()
    ]

    monkeypatch.setattr("serving.runtime.pretrained.pretrained_folder", lambda: tmp_path)
    assert main(["list", "--pretrained", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in listed] == [row.name for row in pretrained()]


def test_a_damaged_one_is_named(tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / MANIFEST_FILE).write_text("{")
    with pytest.raises(ManifestError, match="bad"):
        pretrained(tmp_path)
