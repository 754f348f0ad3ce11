"""Whatever the files of a run or of an artifact hold, a command ends with one line that names the file."""

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.training.cli.test_main import ganzoo


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


DAMAGE: dict[str, bytes | Callable[[Path], None]] = {
    "empty": b"",
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "binary": bytes(range(256)),
    "not UTF-8": b'{"format": 1, "entry": "\xff"}\n',
    "null": b"null\n",
    "a number": b"1e999\n",
    "a huge number": b"9" * 5000 + b"\n",
    "a string": b'"text"\n',
    "a list": b"[{}]\n",
    "an empty object": b"{}\n",
    "deep lists": b"[" * 100_000 + b"\n",
    "deep objects": b'{"a":' * 100_000 + b"\n",
    "a folder": folder,
    "a FIFO": fifo,
    "a loop of links": loop,
}

JSON = [*DAMAGE]
MAY_BE_MISSING = [kind for kind in DAMAGE if kind != "a loop of links"]
"""For files that a command can do without; a loop of links is as no file."""

LINES = [kind for kind in MAY_BE_MISSING if kind not in ("empty", "half")]
"""For files of lines, which may be empty or end within a line."""

BINARY = ["empty", "half", "binary", "a folder", "a FIFO", "a loop of links"]


@pytest.fixture(autouse=True)
def no_waiting():
    """A command that reads a FIFO would wait for ever."""

    def fail(*given: object) -> None:
        pytest.fail("it takes more than a minute")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def place(runs, artifacts, tmp_path, monkeypatch):
    """A working directory with a run, its artifact, one that translates, and shards."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(runs / "points", "run")
    shutil.copytree(artifacts / "points", "points")
    shutil.copytree(artifacts / "styles", "styles")
    Image.new("RGB", (24, 16)).save("image.png")
    return tmp_path


TRAIN = "train linear-gan --data gaussian2d --steps 9 --out run"
SHARDS = "sample points --n 4 --shard-size 2 --out shards"


def cases():
    for command, file, kinds in (
        (TRAIN, "run/run.json", JSON),
        (TRAIN, "run/metrics.jsonl", LINES),
        (TRAIN, "run/checkpoints/*", BINARY),
        ("export run new", "run/run.json", JSON),
        ("export run new", "run/checkpoints/*", BINARY),
        ("sample run --n 2 --out new.png", "run/run.json", JSON),
        ("sample run --n 2 --out new.png", "run/checkpoints/*", BINARY),
        ("compare run", "run/run.json", JSON),
        ("compare run", "run/metrics.jsonl", LINES),
        ("sample points --n 2 --out new.png", "points/manifest.json", JSON),
        ("sample points --n 2 --out new.png", "points/generator.onnx", BINARY),
        (SHARDS, "points/manifest.json", ["deep lists"]),
        (SHARDS, "shards/plan.json", JSON),
        (SHARDS, "shards/index.json", MAY_BE_MISSING),
        ("translate styles image.png new.png", "styles/manifest.json", JSON),
        ("translate styles image.png new.png", "styles/a2b*.onnx", BINARY),
        ("translate styles image.png new.png", "image.png", BINARY),
        ("verify points", "points/manifest.json", JSON),
        ("verify points", "points/generator.onnx", BINARY),
        ("verify points", "points/generator.golden.safetensors", BINARY),
        ("evaluate points --data gaussian2d --n 50", "points/manifest.json", JSON),
        ("evaluate points --data gaussian2d --n 50", "points/generator.onnx", BINARY),
        ("import cyclegan image.png --artifact new", "image.png", BINARY),
    ):
        for kind in kinds:
            yield pytest.param(command, file, kind, id=f"{command.split()[0]}-{file}-{kind}")


@pytest.mark.parametrize(("command", "file", "kind"), list(cases()))
def test_a_damaged_file_is_named_in_one_line(command, file, kind, place, capsys):
    if command == SHARDS:
        assert ganzoo(*command.split()) == 0
    damage = DAMAGE[kind]
    damaged = list(place.glob(file))
    for path in damaged:
        path.write_bytes(damage) if isinstance(damage, bytes) else damage(path)
    capsys.readouterr()
    assert ganzoo(*command.split()) == 2
    *before, last = capsys.readouterr().err.splitlines()
    assert last.startswith("ganzoo: ")
    assert any(part in last for path in damaged for part in (path.name, f"{path.parent.name} "))
    assert all(line.startswith("warning: ") for line in before), before
    assert not list(place.glob("new*")), "nothing is written"


def test_sound_files_are_no_error(place, capsys):
    """The control."""
    for command in dict.fromkeys(case.values[0] for case in cases()):
        if command.startswith(("compare", "import")):
            continue
        assert ganzoo(*command.split()) == 0, capsys.readouterr().err


VALUES = [None, -1, 10**400, 1e308, "x", [], {}, True, "\ud800"]


def changes(content: dict, depth: int = 2):
    """Copies of a JSON object, each with a key removed or a value of another kind."""
    for key in content:
        yield {name: value for name, value in content.items() if name != key}
        for value in VALUES:
            yield content | {key: value}
        if depth and isinstance(content[key], dict):
            for inner in changes(content[key], depth - 1):
                yield content | {key: inner}


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("sample run --n 1 --out new.npy", "run/run.json"),
        ("sample points --n 1 --out new.npy", "points/manifest.json"),
        (SHARDS, "shards/index.json"),
    ],
)
def test_no_value_of_another_kind_ends_in_a_traceback(command, file, place, capsys):
    """Values that do not matter to the command may pass; the others are one line."""
    if command == SHARDS:
        assert ganzoo(*command.split()) == 0
    sound = json.loads((place / file).read_text())
    statuses = set()
    for changed in changes(sound):
        (place / file).write_text(json.dumps(changed))
        capsys.readouterr()
        statuses.add(ganzoo(*command.split()))
        said = capsys.readouterr().err
        assert "Traceback" not in said, json.dumps(changed)[:500]
        (place / file).write_text(json.dumps(sound))
    assert statuses == {0, 2}


@pytest.mark.parametrize("command", ["export run new", TRAIN])
def test_a_checkpoint_of_another_entry_is_named(command, runs, place, capsys):
    """Its hash is right; its content is not that of the run."""
    (other,) = (runs / "classes" / "checkpoints").iterdir()
    (mine,) = Path("run/checkpoints").iterdir()
    mine.unlink()
    data = other.read_bytes()
    Path("run/checkpoints", f"00000003-{hashlib.sha256(data).hexdigest()[:32]}.safetensors").write_bytes(data)
    assert ganzoo(*command.split()) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("ganzoo: the checkpoint of step 3 in run/checkpoints can't be restored")


@pytest.mark.parametrize(
    "command",
    [
        "sample points --n 2 --out {}/x.png",
        "sample points --n 2 --out {}/x.tar",
        "sample points --n 2 --out {}/x",
        "translate styles image.png {}/x.png",
        "train linear-gan --data gaussian2d --out {}/x",
        "export run {}/x",
    ],
)
@pytest.mark.parametrize("nowhere", ["/proc", "/dev/null", "image.png"])
def test_a_place_where_nothing_can_be_written_is_named(command, nowhere, place, capsys):
    assert ganzoo(*command.format(nowhere).split()) == 2
    *_, said = capsys.readouterr().err.splitlines()
    assert said.startswith("ganzoo: ")
    assert nowhere in said


def test_an_artifact_that_cannot_be_written_is_not_evaluated(place, monkeypatch, capsys):
    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("training.artifacts.evaluate.must_be_writable", refuse)
    monkeypatch.setattr(
        "training.artifacts.evaluate.load", lambda *given, **named: pytest.fail("it was loaded")
    )
    assert ganzoo("evaluate", "points", "--data", "gaussian2d") == 2
    assert capsys.readouterr().err == "ganzoo: [Errno 13] Permission denied: 'points'\n"
