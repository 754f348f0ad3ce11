"""Commands whose files, settings or addresses are wrong: one line, status 2 and no traceback."""

import contextlib
import dataclasses
import itertools
import json
import random
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from serving.launcher import free_port, serve_command, serve_environment
from serving.settings import OTHERS, PREFIX, RENAMED, Settings
from tests.reliability.faults.endings import WRONG, Ended, call, run_whole
from tests.reliability.finding import Finding
from tests.training.cli.test_damaged import DAMAGE, SHARDS, TRAIN, cases, changes

CONTROL_PATIENCE = 3
"""Seconds after which a command of the control hangs."""

CHANGED = (
    ("export run new", "run/run.json"),
    ("compare run", "run/run.json"),
    ("compare run", "run/metrics.jsonl"),
    (TRAIN, "run/run.json"),
    (TRAIN, "run/metrics.jsonl"),
    ("verify points", "points/manifest.json"),
    ("verify styles", "styles/manifest.json"),
    ("evaluate points --data gaussian2d --n 50", "points/manifest.json"),
    ("translate styles image.png new.png", "styles/manifest.json"),
)
"""Commands, and the file whose values get other types."""

HOSTS = ("", "no-such-host.invalid", "256.1.1.1", "192.0.2.1", "2001:db8::1", "a" * 300, "http://x", "é\x7f")
PORTS = (-1, 0, 65536, 10**20)
NO_FOLDERS = ("/proc/home", "/dev/null/home")
RANGES = {
    **{f"GANZOO_{name}": "0" for name in ("WORKERS", "MAX_IMAGES", "MAX_BODIES")},
    "GANZOO_RELOAD": "nan",
    "GANZOO_DRAIN": "inf",
    "GANZOO_THREADS": "-1",
    "GANZOO_MAX_QUEUE": "1",
    "GANZOO_API_KEYS": " , ",
    "GANZOO_HOSTS": "http://x",
    "GANZOO_CORS_ORIGINS": "x",
    "GANZOO_PREFIX": "x/",
    "GANZOO_PROVIDER": "tpu",
    "GANZOO_MAX_BODY": "4 MB",
    "GANZOO_ACCESS_LOG": "",
    "GANZOO_PORT": "3000",
}
"""Settings that make no sense."""


def build(artifacts: Path, place: Path) -> None:
    """Make a folder with a run, its artifact, one that translates, and an image."""
    place.mkdir()
    shutil.copytree(artifacts / "styles", place / "styles")
    Image.new("RGB", (24, 16)).save(place / "image.png")
    with contextlib.chdir(place):
        for command in (TRAIN.replace("9", "3"), "export run points"):
            assert call(*command.split()).status == 0


@contextlib.contextmanager
def copied(place: Path) -> Iterator[None]:
    """Work in a copy of a folder while the block runs."""
    with tempfile.TemporaryDirectory() as copy, contextlib.chdir(copy):
        shutil.copytree(place, copy, dirs_exist_ok=True)
        yield


def spoil(path: Path, damage: bytes | Callable[[Path], None]) -> None:
    """Damage a file."""
    if callable(damage):
        damage(path)
    else:
        path.write_bytes(damage)


def read_damaged(found: Ended, place: Path, every: int) -> None:
    """Call every command that reads a file that is damaged in many ways, or each `every`th of them."""
    for case in itertools.islice(cases(), None, None, every):
        command, file, kind = map(str, case.values)
        with copied(place):
            if command == SHARDS:
                call(*command.split())
            paths = list(Path().glob(file))
            for path in paths:
                spoil(path, DAMAGE[kind])
            names = [part for path in paths for part in (path.name, f"{path.parent.name} ")]
            found.add((command, file, kind), call(*command.split()), names)


def read_changed(found: Ended, place: Path, count: int) -> None:
    """Call commands that read JSON whose values have other types; some don't matter to the command."""
    for command, file in CHANGED:
        first, *lines = (place / file).read_text().splitlines() if file.endswith("l") else [""]
        sound = json.loads(first or (place / file).read_text())
        every = list(changes(sound))
        for changed in random.Random(0).sample(every, min(count, len(every))):
            with copied(place):
                Path(file).write_text("\n".join([json.dumps(changed), *lines, ""]))
                ended = call(*command.split())
                found.add((command, file, json.dumps(changed)[:300]), ended, statuses=(0, WRONG))


def miss_checkpoints(found: Ended, place: Path) -> None:
    """Train and export a run whose checkpoints are gone."""
    for missing in ("run/checkpoints", "run/checkpoints/*"):
        with copied(place):
            for path in Path().glob(missing):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            found.add((TRAIN, missing), call(*TRAIN.split()), ["--restart"])
            found.add(("export", missing), call("export", "run", "new"))
            found.add((TRAIN, "--restart", missing), call(*TRAIN.split(), "--restart"), statuses=(0,))


def misspelt() -> Iterator[tuple[str, str]]:
    """Yield names of variables that are almost settings, and the settings."""
    names = {field.name.upper() for field in dataclasses.fields(Settings)}
    known = names | {*OTHERS, *(name.upper() for name in RENAMED)}
    for name in sorted(names):
        middle = len(name) // 2
        swapped = name[: middle - 1] + name[middle] + name[middle - 1] + name[middle + 1 :]
        for wrong in {name[:-1], name + "S", name.replace("_", ""), name.lower(), swapped} - known:
            yield PREFIX + wrong, PREFIX + name


def serve_wrongly(found: Ended, artifacts: Path) -> None:
    """Start servers with settings that do not exist or make no sense, and at addresses that can't be."""
    serve = ("serve", "--artifacts", artifacts)
    for variable, meant in misspelt():
        ended = call("serve", environment={variable: "1"})
        found.add(variable, ended, [f"did you mean {meant}?"])
    for variable, value in RANGES.items():
        found.add((variable, value), call("serve", environment={variable: value}), [variable])
    for host in HOSTS:
        found.add(host, call(*serve, "--host", host), ["host must be"])
    for port in PORTS:
        found.add(port, call(*serve, f"--port={port}"), [f"got {port}"])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for host in ("127.0.0.1", "localhost", "0.0.0.0"):
            found.add((host, "in use"), call(*serve, "--host", host, "--port", port), ["in use"])
    for folder in NO_FOLDERS:
        ended = call(*serve, environment={"BENTOML_HOME": folder})
        found.add(("BENTOML_HOME", folder), ended, [folder])
        ended = call("sample", artifacts / "pictures", "--n", 1, "--out", f"{folder}/x.png")
        found.add(("sample", folder), ended, [folder])


def start_wrongly(found: Ended, artifacts: Path, place: Path) -> None:
    """Start whole processes: ours, and BentoML without our command."""
    settings, broken, port = Settings(artifacts=artifacts), place / "broken", free_port()
    shutil.copytree(place / "points", broken / "points", dirs_exist_ok=True)
    spoil(broken / "points" / "manifest.json", b"[]")
    ours, bentoml = [sys.executable, "-m", "serving", "serve"], serve_command("127.0.0.1", port)
    for command, changed, name in (
        (ours, {"GANZOO_API_KEY": "x"}, "GANZOO_API_KEYS?"),
        (bentoml, {"GANZOO_API_KEY": "x"}, "GANZOO_API_KEYS?"),
        (ours, {"GANZOO_ARTIFACTS": "/no/such/folder"}, "/no/such/folder"),
        (ours, {"GANZOO_ARTIFACTS": str(broken)}, "manifest.json"),
    ):
        environment = serve_environment(settings) | changed
        found.add((command[2:4], changed), run_whole(command, environment), [name])
    with socket.create_server(("127.0.0.1", port)):
        found.add("BentoML's port", run_whole(bentoml, serve_environment(settings)), ["in use"])


READERS = {
    ".json": "import json; print(json.loads(open(path).read())['format'])",
    ".jsonl": "import json; print([json.loads(line)['step'] for line in open(path)][-1])",
    ".safetensors": "from safetensors.numpy import load_file; print(len(load_file(path)))",
    ".onnx": "import onnxruntime; print(onnxruntime.InferenceSession(path).get_inputs()[0].name)",
    ".png": "from PIL import Image; Image.open(path).load()",
}
"""The control: how files are often read, by suffix."""

LISTENER = "import socket; socket.create_server((where[0], int(where[1])))"
"""How servers often listen."""


def run_carelessly(place: Path, every: int) -> Ended:
    """Read the damaged files, and listen at the wrong addresses, by a few lines of Python."""
    found = Ended()
    for file, kind in itertools.islice(dict.fromkeys(case.values[1:] for case in cases()), None, None, every):
        with copied(place):
            for path in list(Path().glob(str(file)))[:1]:
                spoil(path, DAMAGE[str(kind)])
                command = [sys.executable, "-c", f"path = {str(path)!r}; {READERS[path.suffix]}"]
                found.add((file, kind), run_whole(command, patience=CONTROL_PATIENCE))
    wrong = [*((host, 3000) for host in HOSTS[1:]), *(("127.0.0.1", port) for port in PORTS if port)]
    for where in wrong[::every]:
        found.add(where, run_whole([sys.executable, "-c", f"where = {where!r}; {LISTENER}"]))
    return found


def run_ours(artifacts: Path, place: Path, every: int, count: int) -> Ended:
    """Call our commands with each `every`th damaged file, and with `count` other values in sound ones."""
    found = Ended()
    read_damaged(found, place, every)
    read_changed(found, place, count)
    miss_checkpoints(found, place)
    serve_wrongly(found, artifacts)
    start_wrongly(found, artifacts, place)
    return found


def commands(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Call our commands, and a few lines of Python, with everything wrong."""
    build(artifacts, place := scratch / "place")
    every, count = (1, 500) if long else (4, 15)
    found, control = run_ours(artifacts, place, every, count), run_carelessly(place, every)
    return Finding(
        f"{found.count:,} commands with damaged files, unknown settings, addresses that can't be and folders "
        "that can't be written: each that can't do its work ends with one line, status 2 and no traceback",
        str(found),
        f"a few lines of Python: {control}",
        not found.faults and 2 * control.faults["with a traceback"] > control.count,
    )
