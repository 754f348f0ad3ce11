"""The command line: a user's mistake is one clear line and status 2, never a traceback."""

import ast
import dataclasses
import inspect
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from serving import settings
from serving.imaging.codec import decode
from serving.runtime.load import load
from tests.training.artifacts.test_import_cyclegan import Original
from training.__main__ import main
from training.run.train_config import TrainConfig
from zoo import registry

ROOT = Path(__file__).parents[3]


def ganzoo(*arguments: object) -> int:
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as ended:
        return int(ended.code or 0)


def test_list(capsys):
    assert ganzoo("list") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(registry.ENTRIES)
    assert ganzoo("list", "--json") == 0
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out)] == list(registry.ENTRIES)


def test_from_training_to_samples(tmp_path, capsys):
    run, artifact = tmp_path / "run", tmp_path / "artifact"
    flags = ["--data", "gaussian2d", "--steps", 3, "--out", run, "--batch-size", 4, "--objective", "hinge"]
    assert ganzoo("train", "linear-gan", *flags) == 0
    assert ganzoo("export", run, artifact) == 0
    assert "maximum difference" in capsys.readouterr().out
    for source in (run, artifact):
        assert ganzoo("sample", source, "--n", 9, "--out", tmp_path / "points.png") == 0
    assert (tmp_path / "points.png").exists()


def test_the_best_checkpoint_is_exported_and_sampled(tmp_path, capsys):
    run, artifact = tmp_path / "run", tmp_path / "artifact"
    flags = ["--data", "gaussian2d", "--steps", 6, "--out", run, "--batch-size", 4]
    flags += ["--score-every", 2, "--score-samples", 100, "--keep-best"]
    assert ganzoo("train", "linear-gan", *flags) == 0
    assert f"`ganzoo export {run} --checkpoint best`" in capsys.readouterr().err
    assert ganzoo("export", run, artifact, "--checkpoint", "best") == 0
    assert json.loads((artifact / "manifest.json").read_text())["training"]["score"]["best"] is True
    assert ganzoo("sample", f"{run}@best", "--n", 9, "--out", tmp_path / "best.npy") == 0
    capsys.readouterr()
    for command in (["export", run, artifact, "--checkpoint", 5], ["sample", f"{run}@5"]):
        assert ganzoo(*command) == 2
        assert re.fullmatch(
            r"ganzoo: the checkpoint of step 5 of the run .* is not kept; use newest or one of .*\n",
            capsys.readouterr().err,
        )


def test_from_folders_to_a_translated_folder(tmp_path, capsys):
    """The domains are folders, the sizes are whatever they are."""
    for domain, colour in (("A", (200, 100, 0)), ("B", (0, 100, 200))):
        for index in range(3):
            path = tmp_path / "data" / f"train{domain}" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (30 + index, 41), colour).save(path)
    flags = ["--image-size", 16, 20, "--translator", "resnet-6", "--width", 4, "--discriminator-layers", 1]
    run, artifact = tmp_path / "run", tmp_path / "artifact"
    data = f"unpaired:{tmp_path / 'data'}"
    assert ganzoo("train", "cyclegan", "--data", data, *flags, "--steps", 2, "--out", run) == 0
    assert ganzoo("export", run, artifact) == 0
    folders = (tmp_path / "data" / "trainB", tmp_path / "out")
    assert ganzoo("translate", artifact, *folders, "--direction", "b2a") == 0
    shapes = {decode(path.read_bytes(), 3).shape for path in (tmp_path / "out").iterdir()}
    assert shapes == {(41, 30, 3), (41, 31, 3), (41, 32, 3)}
    capsys.readouterr()
    assert ganzoo("translate", artifact, tmp_path / "data", tmp_path / "out", "--direction", "sideways") == 2
    assert capsys.readouterr().err == "ganzoo: direction must be a2b or b2a; got 'sideways'\n"


def test_an_artifact_is_verified_and_a_damaged_one_is_refused(artifacts, tmp_path, capsys):
    artifact = shutil.copytree(artifacts / "points", tmp_path / "points")
    assert ganzoo("verify", artifact) == 0
    assert "generator.onnx: " in capsys.readouterr().out
    (artifact / "generator.onnx").write_bytes(b"")
    assert ganzoo("verify", artifact) == 2
    assert "damaged" in capsys.readouterr().err
    assert ganzoo("verify", tmp_path) == 2
    assert "is not an artifact" in capsys.readouterr().err


@pytest.mark.slow
def test_a_smaller_type_is_a_flag(runs, tmp_path, capsys):
    assert ganzoo("export", runs / "pairs", tmp_path / "pairs", "--precision", "fp16", "int8") == 0
    said = capsys.readouterr().out
    assert "a2b.cuda.fp16.onnx: " in said
    assert "a2b.cpu.int8.onnx: " in said
    assert ganzoo("export", runs / "pairs", tmp_path / "pairs", "--precision", "fp4") == 2


@pytest.mark.slow
def test_weights_from_elsewhere(tmp_path, capsys):
    file = tmp_path / "a.pth"
    file.write_bytes(b"garbage")
    assert ganzoo("import", "cyclegan", file, "--artifact", tmp_path / "artifact") == 2
    assert "only a state dict" in capsys.readouterr().err
    torch.save(Original().state_dict(), file)
    assert ganzoo("import", "cyclegan", file, file, "--artifact", tmp_path / "artifact") == 0
    assert (tmp_path / "artifact" / "b2a.onnx").exists()


def documented(kind: type) -> dict[str, str]:
    """The fields of a dataclass with the first words of the docstring below each, its parents' included."""
    found = {}
    for parent in reversed(kind.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(parent))).body[0].body
        for field, text in itertools.pairwise(body):
            match field, text:
                case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(words))):
                    found[name] = " ".join(words.split()[:3])
    return found


FLAGS = {"start_from": "from"}
"""Names of flags that Python has another use for."""


@pytest.mark.parametrize("name", registry.ENTRIES)
def test_help_explains_every_field_with_its_default(name, capsys):
    assert ganzoo("train", name, "--help") == 0
    said = " ".join(re.sub(r"[│\n]", " ", capsys.readouterr().out).split())
    for kind in (TrainConfig, registry.load(name)):
        words = documented(kind)
        for field in dataclasses.fields(kind):
            assert f"--{FLAGS.get(field.name, field.name.replace('_', '-'))}" in said
            assert words[field.name] in said, field.name
            default = field.default
            shown = " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
            assert f"(default: {shown})".replace(" )", ")") in said.replace(" )", ")"), field.name


def test_a_dry_run_prints_the_resolved_configuration_and_does_nothing(tmp_path, capsys):
    out = tmp_path / "run"
    assert ganzoo("train", "dcgan", "--image-size", 32, "--seed", 7, "--out", out, "--dry-run") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["hyperparameters"]["image_size"] == 32
    assert said["hyperparameters"]["betas"] == [0.0, 0.99]
    assert said["run"]["seed"] == 7
    assert not out.exists()


MISTAKES = {
    "no entry": ["train", "no-such"],
    "image_size": ["train", "dcgan", "--image-size", "48"],
    "steps": ["train", "dcgan", "--steps", "0"],
    "the data 'moons' are unknown": ["train", "mlp-gan", "--data", "moons"],
    "vectors": ["train", "mlp-gan", "--data", "ring8"],
    "abacus": ["train", "linear-gan", "--data", "gaussian2d", "--device", "abacus"],
    "no artifact 'nowhere'": ["sample", "nowhere"],
    "run.json": ["export", "nowhere"],
    "is not an artifact": ["export", "nowhere", "."],
    "got 'my run'": ["export", "my run"],
    "got x.gif": ["sample", "nowhere", "--out", "x.gif"],
    "seed must be": ["train", "linear-gan", "--data", "gaussian2d", "--seed", str(2**60)],
    "there is no artifact 'nowhere'": ["evaluate", "nowhere", "--data", "glyphs"],
    "nowhere holds no run": ["compare", "nowhere"],
    "3 classes": ["train", "cdcgan", "--classes", "3"],
    "no artifact 'nowhere@best'": ["sample", "nowhere@best"],
    "keep_best needs scores": ["train", "dcgan", "--keep-best"],
    "patience needs scores": ["train", "dcgan", "--patience", "3"],
    "schedule_steps": ["train", "dcgan", "--schedule-steps", "-1"],
    "subclass of zoo.entry.Entry": ["train", "zoo.models.dcgan:Generator"],
    "allocate": ["train", "mlp-gan", "--latent-size", str(2 * 10**9)],
}


@pytest.mark.parametrize("said", MISTAKES)
def test_a_mistake_is_one_line(said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ganzoo(*MISTAKES[said]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("ganzoo: ")
    assert said in errors[0]


@pytest.mark.parametrize(
    "arguments", [["train", "dcgan", "--steps", "ten"], ["train", "dcgan", "--no-such"], ["fly"]]
)
def test_flags_that_cannot_be_read_end_with_status_2(arguments, capsys):
    assert ganzoo(*arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_setting_that_makes_no_sense_is_named(capsys, monkeypatch):
    monkeypatch.setenv("GANZOO_MAX_IMAGES", "many")
    assert ganzoo("serve") == 2
    assert "GANZOO_MAX_IMAGES" in capsys.readouterr().err


def test_other_verbs_do_not_mind_it(monkeypatch):
    monkeypatch.setenv("GANZOO_MAX_IMAGES", "many")
    assert ganzoo("list") == 0


@pytest.mark.parametrize(
    ("verb", "old", "new", "value"),
    [
        ("train", "--keep", "--keep-checkpoints", "7"),
        ("sample", "--shards", "--shard-size", "3"),
        *[("serve", f"--{old}", f"--{new.replace('_', '-')}", "1") for old, new in settings.RENAMED.items()],
    ],
)
@pytest.mark.parametrize("join", [" ", "="])
def test_a_flag_of_before_goes_on_working_with_one_warning(
    verb, old, new, value, join, capsys, monkeypatch, artifacts, tmp_path
):
    """What the verb gets is the same by either name."""
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(os, "execve", lambda command, arguments, environment: seen.append(environment))
    given = {
        "train": ["train", "linear-gan", "--dry-run"],
        "sample": ["sample", artifacts / "points", "--n", 5, "--out", "points"],
        "serve": ["serve"],
    }[verb]
    for name, warnings in ((old, 1), (new, 0)):
        assert ganzoo(*given, *f"{name}{join}{value}".split(" ")) == 0
        out, err = capsys.readouterr()
        assert err.count(f"warning: {old} is deprecated; use {new}") == warnings
        seen.append((out, sorted(path.name for path in tmp_path.rglob("*.tar"))))
        shutil.rmtree(tmp_path / "points", ignore_errors=True)
    assert seen[: len(seen) // 2] == seen[len(seen) // 2 :]
    assert seen != [("", [])] * 2
    assert verb != "train" or '"keep_checkpoints": 7' in seen[0][0]


def test_a_diverged_training_has_a_status_of_its_own(tmp_path, capsys):
    flags = ["--data", "gaussian2d", "--steps", 200, "--learning-rate", "1e30", "--out", tmp_path]
    assert ganzoo("train", "linear-gan", *flags) == 3
    assert "step" in capsys.readouterr().err.splitlines()[-1]


def test_scores_and_rows_can_be_had_as_json(tmp_path, capsys, artifacts):
    points = shutil.copytree(artifacts / "points", tmp_path / "points")
    assert ganzoo("evaluate", points, "--data", "gaussian2d", "--n", 500, "--json") == 0
    assert set(json.loads(capsys.readouterr().out)["scores"]) == {"wasserstein2"}
    run = tmp_path / "run"
    flags = ["--data", "gaussian2d", "--steps", 2, "--score-every", 1, "--score-samples", 100, "--out", run]
    assert ganzoo("train", "linear-gan", *flags) == 0
    capsys.readouterr()
    assert ganzoo("compare", run, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["score"], row["steps"], row["seeds"]) == ("wasserstein2", 2, [0])


def test_a_class_can_be_asked_for(tmp_path, artifacts):
    out = tmp_path / "b.npy"
    assert ganzoo("sample", artifacts / "classes", "--n", 2, "--label", "B", "--out", out) == 0
    assert np.array_equal(np.load(out), load(artifacts / "classes").sample(2, seed=0, label="B"))


def test_a_traceback_is_there_for_the_asking(monkeypatch, capsys):
    monkeypatch.setenv("GANZOO_TRACEBACK", "1")
    assert ganzoo("train", "no-such") == 2
    assert "Traceback" in capsys.readouterr().err


def test_what_is_nobodys_mistake_keeps_its_traceback(monkeypatch, capsys):
    monkeypatch.setattr(registry, "summary", lambda name: 1 / 0)
    assert main(["list"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("Traceback")
    assert said[-2].startswith("ZeroDivisionError")
    assert "please report it" in said[-1]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_gone_is_no_error(unbuffered):
    """As in `ganzoo list | head -0`."""
    read, write = os.pipe()
    os.close(read)
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-m", "training", "list"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_the_console_script_is_installed():
    done = subprocess.run([f"{sys.prefix}/bin/ganzoo", "--help"], capture_output=True, text=True, check=True)
    verbs = "list train sample export evaluate compare validate-data serve demo"
    assert all(verb in done.stdout for verb in verbs.split())
