"""Folders of PNG files: what they hold, what completes them, and what is left alone."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.errors import UserError
from serving.imaging import codec
from serving.offline.sample import write_samples
from serving.runtime.load import load
from training.cli.inference import open_model

ROOT = Path(__file__).parents[3]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_each_image_has_a_file_named_by_its_seed_and_nothing_else_is_there_but_the_plan(artifacts, tmp_path):
    """The bytes are those of the server and of the shards."""
    pipeline = load(artifacts / "classes")
    write_samples(pipeline, 70, 999_990, tmp_path / "new" / "out")
    found = contents(tmp_path / "new" / "out")
    assert json.loads(found.pop("plan.json"))["format"] == "png"
    assert sorted(found) == [f"{seed:07}.png" for seed in range(999_990, 1_000_060)]
    for pixels, name in zip(pipeline.sample(70, seed=999_990), sorted(found), strict=True):
        said = pipeline.provenance.of(seed=int(name.removesuffix(".png")))
        assert found[name] == codec.encode_png(pixels, said)


def test_a_label_and_a_run_are_as_elsewhere(artifacts, runs, tmp_path):
    write_samples(open_model(runs / "classes"), 3, 5, tmp_path / "out", "B")
    real = load(artifacts / "classes").sample(3, seed=5, label="B")
    for pixels, path in zip(real, sorted((tmp_path / "out").glob("*.png")), strict=True):
        with Image.open(path) as image:
            assert np.abs(np.asarray(image).astype(int) - pixels.squeeze(-1)).max() <= 1


def test_what_is_missing_or_cut_off_is_drawn_again_and_the_rest_is_kept(artifacts, tmp_path):
    out = tmp_path / "out"
    write_samples(load(artifacts / "pictures"), 9, 0, out)
    before = contents(out)
    (out / "000002.png").unlink()
    (out / "000003.png").write_bytes(before["000003.png"][:-5])
    (out / "000008.png").write_bytes(b"")
    (out / "000008.png.partial").write_bytes(b"half")
    inodes = {name: (out / name).stat().st_ino for name in ("000000.png", "000004.png")}
    write_samples(load(artifacts / "pictures"), 9, 0, out)
    assert contents(out) == before
    assert all((out / name).stat().st_ino == inode for name, inode in inodes.items())


def test_folders_of_something_else_are_left_alone(artifacts, tmp_path):
    out, pipeline = tmp_path / "out", load(artifacts / "classes")
    write_samples(pipeline, 4, 0, out)
    before = contents(out)
    for arguments, said in (
        ({"n": 5}, "n 4 instead of 5"),
        ({"seed": 1}, "seed 0 instead of 1"),
        ({"label": "A"}, "label None instead of 0"),
        ({"truncation": 0.5}, "truncation None instead of 0.5"),
        ({"folder_format": "tar"}, "format png instead of tar"),
    ):
        with pytest.raises(UserError, match=f"contains samples of other options: .*{said}"):
            write_samples(**({"pipeline": pipeline, "n": 4, "seed": 0, "out": out} | arguments))
    assert {name: data for name, data in contents(out).items() if name not in ("lock", "holder")} == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.png").touch()
    with pytest.raises(UserError, match=r"must be empty or contain the same samples; it contains photo\.png"):
        write_samples(pipeline, 4, 0, tmp_path / "mine")


def test_vectors_are_no_images(artifacts, tmp_path):
    with pytest.raises(UserError, match="--format must be tar for a model of vectors; got png"):
        write_samples(load(artifacts / "points"), 4, 0, tmp_path / "out", folder_format="png")
    assert not (tmp_path / "out").exists()


def test_stopped_it_says_so_and_goes_on(artifacts, tmp_path):
    sizes = ["--n", "9000", "--out", str(tmp_path / "out")]
    command = [sys.executable, "-m", "serving", "sample", str(artifacts / "pictures"), *sizes]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as started:
        while not (tmp_path / "out" / "000099.png").exists():
            assert started.poll() is None
            time.sleep(0.005)
        started.send_signal(signal.SIGTERM)
        assert (
            started.communicate()[1].splitlines()[-1].startswith("ganzoo: stopped by SIGTERM; run the same")
        )
    assert started.returncode == 128 + signal.SIGTERM
    assert not list((tmp_path / "out").glob("*.partial"))
    first = (tmp_path / "out" / "000000.png").stat().st_ino
    assert len(list((tmp_path / "out").glob("*.png"))) < 9000
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert len(list((tmp_path / "out").glob("*.png"))) == 9000
    assert (tmp_path / "out" / "000000.png").stat().st_ino == first
