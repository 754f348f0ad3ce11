"""Shards over the whole way: against the server, killed, stopped, and where they can't be written."""

import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from serving.launcher import serving
from serving.offline.sample import write_samples
from serving.runtime.load import load
from serving.settings import Settings
from training.cli.inference import open_model

ROOT = Path(__file__).parents[3]
N, SIZE = 6000, 100


def read(folder: Path) -> dict[str, bytes]:
    """Every member of every shard of a folder, in the order of their names."""
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            found |= {member.name: tar.extractfile(member).read() for member in tar}
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but who held it."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in ("holder", "lock")}


def test_shards_hold_the_servers_own_pictures(artifacts, tmp_path):
    """Byte for byte, and each picture's class beside it."""
    write_samples(load(artifacts / "pictures"), 230, 7, tmp_path / "pictures", shard_size=100)
    write_samples(load(artifacts / "classes"), 30, 7, tmp_path / "classes", shard_size=20)
    pictures, classes = read(tmp_path / "pictures"), read(tmp_path / "classes")
    assert len(pictures) == 230
    assert len(classes) == 60
    with (
        serving(Settings(artifacts=artifacts), tmp_path / "log") as url,
        httpx.Client(base_url=url) as client,
    ):
        for name, found in (("pictures", pictures), ("classes", classes)):
            for member, data in found.items():
                seed, _, suffix = member.partition(".")
                if suffix == "png":
                    answer = client.get(f"/v1/models/{name}/samples/{int(seed)}.png").raise_for_status()
                    assert answer.content == data, member
                else:
                    assert int(data) == int(seed) % 3


def test_the_index_names_every_shard_and_what_they_were_made_by(artifacts, tmp_path):
    write_samples(load(artifacts / "pictures"), 230, 7, tmp_path / "out", shard_size=100)
    index = json.loads((tmp_path / "out" / "index.json").read_bytes())
    manifest = json.loads((artifacts / "pictures" / "manifest.json").read_bytes())
    files = [variant["sha256"] for variant in manifest["graphs"]["generator"]["variants"]]
    version = hashlib.sha256(json.dumps({"generator": files}).encode()).hexdigest()[:12]
    shards = index.pop("shards")
    plan = {"version": version, "seed": 7, "n": 230, "label": None, "truncation": None, "size": 100}
    plan |= {"format": "tar", "provenance": True}
    assert (
        index
        == json.loads((tmp_path / "out" / "plan.json").read_bytes())
        == plan | {"provider": index["provider"]}
    )
    assert [shard["file"] for shard in shards] == ["000000.tar", "000001.tar", "000002.tar"]
    assert [shard["samples"] for shard in shards] == [100, 100, 30]
    for shard in shards:
        data = (tmp_path / "out" / shard["file"]).read_bytes()
        assert shard["sha256"] == hashlib.sha256(data).hexdigest()


def test_a_tar_holds_the_same_members(artifacts, tmp_path):
    write_samples(load(artifacts / "classes"), 150, 5, tmp_path / "out", "B", shard_size=100)
    write_samples(load(artifacts / "classes"), 150, 5, tmp_path / "new" / "out.tar", "B")
    assert read(tmp_path / "out") == read(tmp_path / "new")
    assert {data for name, data in read(tmp_path / "out").items() if name.endswith("cls")} == {b"1"}


def test_vectors_are_arrays(artifacts, tmp_path):
    write_samples(load(artifacts / "points"), 150, 5, tmp_path / "out.tar")
    found = [np.load(io.BytesIO(data), allow_pickle=False) for data in read(tmp_path).values()]
    assert np.array_equal(found, load(artifacts / "points").sample(150, seed=5))


def test_a_run_has_shards_too(artifacts, runs, tmp_path):
    write_samples(open_model(runs / "classes"), 150, 5, tmp_path / "out", shard_size=100)
    write_samples(load(artifacts / "classes"), 150, 5, tmp_path / "artifact", shard_size=100)
    assert read(tmp_path / "out").keys() == read(tmp_path / "artifact").keys()
    with pytest.raises(ValueError, match=r"version \w+ instead of \w+"):
        write_samples(load(artifacts / "classes"), 150, 5, tmp_path / "out", shard_size=100)


def test_another_commands_folder_is_left_alone(artifacts, tmp_path):
    write_samples(load(artifacts / "classes"), 20, 5, tmp_path / "out", shard_size=10)
    before = contents(tmp_path / "out")
    for arguments, said in (
        ((30, 5, tmp_path / "out", None, 10), "n 20 instead of 30"),
        ((20, 6, tmp_path / "out", None, 10), "seed 5 instead of 6"),
        ((20, 5, tmp_path / "out", "A", 10), "label None instead of 0"),
        ((20, 5, tmp_path / "out", None, 20), "size 10 instead of 20"),
    ):
        with pytest.raises(ValueError, match=said):
            write_samples(load(artifacts / "classes"), *arguments)
    assert contents(tmp_path / "out") == before
    (tmp_path / "out" / "plan.json").write_bytes(b"[1")
    with pytest.raises(ValueError, match=r"plan\.json is damaged"):
        write_samples(load(artifacts / "classes"), 20, 5, tmp_path / "out", shard_size=10)
    with pytest.raises(ValueError, match="contain the same samples; it contains notes"):
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "notes").touch()
        write_samples(load(artifacts / "classes"), 20, 5, tmp_path / "other", shard_size=10)


def test_the_lines_of_the_documents_read_them(artifacts, tmp_path):
    (code,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "bulk.md").read_text(), re.M | re.DOTALL)
    write_samples(load(artifacts / "pictures"), 30, 0, tmp_path / "million", shard_size=20)
    last = f"{code}\nassert picture.size == (16, 16)\nassert member.name == f'{{29:016}}.png'"
    subprocess.run([sys.executable, "-c", last], cwd=tmp_path, check=True)


def command(source: Path, out: Path) -> list[str]:
    sizes = ["--n", str(N), "--shard-size", str(SIZE)]
    return [sys.executable, "-m", "training", "sample", str(source), *sizes, "--out", str(out)]


def start(source: Path, out: Path) -> "subprocess.Popen[str]":
    """Have a process of its own write shards, until it has written three."""
    before = len(list(out.glob("*.tar")))
    started = subprocess.Popen(
        command(source, out), cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while started.poll() is None and len(list(out.glob("*.tar"))) < before + 3:
        time.sleep(0.005)
    assert started.poll() is None, started.stderr.read()
    return started


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def is_alive(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
def test_killed_and_gone_on_with_they_are_the_same(artifacts, tmp_path):
    """What was whole is not written again, and no process is left behind."""
    write_samples(load(artifacts / "pictures"), N, 0, tmp_path / "undisturbed", shard_size=SIZE)
    out = tmp_path / "out"
    kept: dict[Path, int] = {}
    for _ in range(2):
        started = start(artifacts / "pictures", out)
        packers = children(started.pid)
        assert packers
        started.kill()
        started.communicate()
        assert len(kept) < len(list(out.glob("*.tar"))) < N // SIZE, "it was killed on the way"
        assert not (out / "index.json").exists()
        assert all(path.stat().st_ino == inode for path, inode in kept.items())
        kept = {path: path.stat().st_ino for path in out.glob("*.tar")}
        deadline = time.monotonic() + 30
        while any(map(is_alive, packers)):
            assert time.monotonic() < deadline, "what packs outlives the command"
            time.sleep(0.05)
    (out / "000059.tar.0.partial").write_bytes(b"half")
    subprocess.run(command(artifacts / "pictures", out), cwd=ROOT, check=True)
    assert all(path.stat().st_ino == inode for path, inode in kept.items())
    assert contents(out) == contents(tmp_path / "undisturbed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_they_say_so_in_one_line(number, artifacts, tmp_path):
    """The signal goes to every process of the command, as from a terminal."""
    started = start(artifacts / "pictures", tmp_path / "out")
    os.killpg(started.pid, number)
    _, said = started.communicate(timeout=60)
    lines = [line for line in said.splitlines() if not line.startswith("sampling: ")]
    assert lines == [f"ganzoo: stopped by {number.name}; run the same command again to complete it"]
    assert started.returncode == 128 + number
    left = {path.suffix for path in (tmp_path / "out").iterdir() if path.name not in ("holder", "lock")}
    assert left == {".tar", ".json"}, "no half of a shard"


def test_a_shard_that_was_damaged_is_drawn_again(artifacts, tmp_path):
    out = tmp_path / "out"
    write_samples(load(artifacts / "points"), 30, 0, out, shard_size=10)
    before = contents(out)
    damaged = bytearray(before["000001.tar"])
    damaged[700] ^= 1
    (out / "000001.tar").write_bytes(damaged)
    (out / "000002.tar").write_bytes(b"")
    inode = (out / "000000.tar").stat().st_ino
    write_samples(load(artifacts / "points"), 30, 0, out, shard_size=10)
    assert contents(out) == before
    assert (out / "000000.tar").stat().st_ino == inode


def test_a_tar_that_was_killed_leaves_nothing_that_stays(artifacts, tmp_path):
    sizes = ["--n", "1000000", "--out", str(tmp_path / "one.tar")]
    command = [sys.executable, "-m", "training", "sample", str(artifacts / "pictures"), *sizes]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as started:
        while not list(tmp_path.iterdir()):
            assert started.poll() is None
            time.sleep(0.01)
        started.kill()
    assert [path.name for path in tmp_path.iterdir()] == ["one.tar.partial"]
    write_samples(load(artifacts / "pictures"), 10, 0, tmp_path / "one.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["one.tar"]


def test_two_do_not_write_into_one_folder(artifacts, tmp_path):
    started = start(artifacts / "pictures", tmp_path / "out")
    with pytest.raises(ValueError, match=f"in use by process {started.pid}"):
        write_samples(load(artifacts / "pictures"), N, 0, tmp_path / "out", shard_size=SIZE)
    os.killpg(started.pid, signal.SIGKILL)
    started.communicate()


def test_a_file_system_that_takes_no_more_is_named_with_the_shard(artifacts, tmp_path):
    out = tmp_path / "out"
    limited = ["bash", "-c", 'ulimit -f 50; exec "$@"', "-", *command(artifacts / "pictures", out)]
    done = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("ganzoo: [Errno 27] File too large: ")
    assert re.search(r"0000\d\d\.tar", done.stderr), "either core may be the first"
    assert "Traceback" not in done.stderr
    assert not list(out.glob("*.partial"))


def test_a_place_that_is_no_folder_is_named(artifacts, tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match="file"):
            write_samples(load(artifacts / "pictures"), 5, 0, out)
