"""The same shards by Ray, on a cluster of this machine."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from serving.offline.bulk import Plan
from serving.offline.ray_cluster import Worker, _workers
from serving.offline.sample import write_samples
from serving.runtime.load import load
from tests.serving.offline.test_bulk import contents
from training.cli.inference import open_model

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="Ray is not installed")
def test_a_cluster_writes_what_one_machine_writes(artifacts, tmp_path):
    """Byte for byte, the index too; and only what is missing."""
    write_samples(load(artifacts / "classes"), 450, 7, tmp_path / "here", shard_size=100)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    inode = (tmp_path / "there" / "000003.tar").stat().st_ino
    for name in ("000000.tar", "000001.tar", "000002.tar", "000004.tar", "index.json"):
        (tmp_path / "there" / name).unlink()
    flags = ["--n", "450", "--seed", "7", "--shard-size", "100", "--out", str(tmp_path / "there"), "--ray"]
    command = [sys.executable, "-m", "training", "sample", str(artifacts / "classes"), *flags]
    alone = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    done = subprocess.run(
        command, cwd=ROOT, env=alone, timeout=300, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    assert (tmp_path / "there" / "000003.tar").stat().st_ino == inode


def test_a_worker_writes_a_shard_or_says_why_not(artifacts, tmp_path):
    write_samples(load(artifacts / "classes"), 30, 0, tmp_path / "here", shard_size=20)
    plan = Plan(**json.loads((tmp_path / "here" / "plan.json").read_bytes()))
    for share in (1, 2):
        row = Worker(artifacts / "classes", plan, tmp_path, share)({"shard": 1})
        assert row["fault"] == ""
        assert (tmp_path / "000001.tar").read_bytes() == (tmp_path / "here" / "000001.tar").read_bytes()
    nowhere = Worker(artifacts / "classes", plan, tmp_path / "nowhere", 1)
    assert "No such file" in nowhere({"shard": 1})["fault"]
    other = Worker(artifacts / "pictures", plan, tmp_path, 1)
    assert f"must have the version {plan.version} on every machine" in other({"shard": 1})["fault"]


def test_every_engine_has_what_the_narrowest_machine_can_give():
    def cluster(*machines):
        class Ray:
            @staticmethod
            def nodes():
                return [{"Alive": alive, "Resources": resources} for alive, resources in machines]

        return Ray

    head, narrow = (True, {"CPU": 32.0}), (True, {"CPU": 8.0, "GPU": 1.0})
    assert _workers(cluster(head, narrow, (True, {"CPU": 16.0, "GPU": 4.0})), cuda=True) == (5, 4)
    assert _workers(cluster(head, narrow, (False, {"CPU": 64.0})), cuda=False) == (40, 1)
    assert _workers(cluster((True, {"CPU": 1.0, "GPU": 2.0})), cuda=True) == (2, 1)
    with pytest.raises(ValueError, match="no machine of the Ray cluster has a GPU"):
        _workers(cluster(head), cuda=True)


def test_without_ray_it_says_what_to_install(artifacts, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(ValueError, match=r"gan-zoo\[ray\]"):
        write_samples(load(artifacts / "pictures"), 5, 0, tmp_path / "out", ray=True)
    assert not (tmp_path / "out").exists()


def test_a_cluster_draws_from_artifacts_alone(runs, tmp_path):
    with pytest.raises(ValueError, match="--ray requires an artifact"):
        write_samples(open_model(runs / "pictures"), 5, 0, tmp_path / "out", ray=True)
    assert not (tmp_path / "out").exists()
