"""The documents' commands, run as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import torch
from PIL import Image

from tests.training.test_imported import Original
from training.server import free_port, running

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```([a-z ]+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def blocks(kind: str) -> list[str]:
    """Code blocks of a kind: `bash` and `python` are run, `bash serve` beside them, `sh` is only checked."""
    found = [text for name, text in BLOCKS if name == kind]
    assert found, f"the README has no {kind} block"
    return found


def environment() -> dict[str, str]:
    return dict(os.environ) | {
        "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
        "BENTOML_DO_NOT_TRACK": "True",
    }


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_train_export_serve(tmp_path):
    """Every block from training to the client, in order, in a folder of its own."""
    port = str(free_port())
    train, ask, style, ask_style, *scores = (text.replace("3000", port) for text in blocks("bash"))
    run("bash", "-ec", train, cwd=tmp_path)
    assert "recoloured" in run("bash", "-ec", style, cwd=tmp_path)
    for name in ("first.png", "again.png"):
        with Image.open(tmp_path / name) as sheet:
            assert sheet.size == (8 * 30 + 2, 8 * 30 + 2)

    (serve,) = blocks("bash serve")
    command = ["bash", "-ec", f"exec {serve.replace('3000', port)}"]
    url = f"http://127.0.0.1:{port}"
    with running(command, url, tmp_path / "log", environment(), tmp_path):
        assert '"first"' in run("bash", "-ec", ask, cwd=tmp_path)
        with Image.open(tmp_path / "sheet.png") as sheet:
            assert sheet.size == (4 * 30 + 2, 4 * 30 + 2)
        by_command = (tmp_path / "styled.png").read_bytes()
        run("bash", "-ec", ask_style, cwd=tmp_path)
        assert (tmp_path / "styled.png").read_bytes() == by_command
        (client,) = blocks("python")
        run(sys.executable, "-c", client.replace("3000", port), cwd=tmp_path)
        assert httpx.get(f"{url}/", follow_redirects=True).status_code == 200

    evaluated, compared, verified = (run("bash", "-ec", text, cwd=tmp_path) for text in scores)
    named = re.search(r"^\| score \| of .*?\n\n", README, re.MULTILINE | re.DOTALL)
    for score in (line.split()[0] for line in (evaluated.splitlines()[1:])):
        assert f"`{score}`" in named[0]
    assert "total_variation" in compared
    assert "PyTorch" in verified


def commands() -> list[str]:
    return [line for text in blocks("sh") for line in text.splitlines() if line]


@pytest.mark.parametrize("command", commands())
def test_the_commands_that_are_not_run_are_at_least_right(command, tmp_path):
    """What downloads, needs a GPU or would call itself: make's verbs exist, ganzoo's flags can be read."""
    match command.split():
        case ["make", verb]:
            assert re.search(rf"^{verb}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        case ["ganzoo", "train", *flags]:
            assert '"entry"' in run("ganzoo", "train", *flags, "--dry-run", cwd=tmp_path)
        case ["ganzoo", "import", kind, *files, "--artifact", _] if kind == "cyclegan":
            for file in files:
                torch.save(Original().state_dict(), tmp_path / file)
            assert run("bash", "-ec", command, cwd=tmp_path).strip() == command.split()[-1]
        case _:
            pytest.fail(f"nothing checks {command}")


def test_the_tables_list_every_entry_every_data_and_every_setting():
    import dataclasses

    from serving.settings import Settings
    from training.data import SOURCES
    from zoo.adversarial import SCHEDULES
    from zoo.augment import TRANSFORMS
    from zoo.objectives import OBJECTIVES
    from zoo.registry import ENTRIES
    from zoo.regularizers import REGULARIZERS

    for name in (*ENTRIES, *OBJECTIVES, *REGULARIZERS, *TRANSFORMS, *SCHEDULES):
        assert f"`{name}`" in README
    for name in SOURCES:
        assert f"`{name}" in README
    for field in dataclasses.fields(Settings):
        assert f"| `GANZOO_{field.name.upper()}` | `{field.default}` |".replace("`", "") in README.replace(
            "`", ""
        )


def test_the_house_names_every_room():
    (house,) = re.findall(r"^```\n(zoo/.*?)^```$", README, re.MULTILINE | re.DOTALL)
    for room in ("zoo", "training", "serving"):
        for path in (ROOT / room).glob("*.py"):
            assert path.name == "__init__.py" or path.name in house, path


def test_an_entry_of_your_own(tmp_path):
    (source,) = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "CONTRIBUTING.md").read_text(), re.M | re.DOTALL
    )
    (tmp_path / "my_lab.py").write_text(source)
    command = "PYTHONPATH=. ganzoo train my_lab:PointGAN --data ring8"
    assert command in (ROOT / "CONTRIBUTING.md").read_text()
    run("bash", "-ec", f"{command} --steps 5 --width 8 --out runs/mine", cwd=tmp_path)
    env = "PYTHONPATH=. ganzoo export runs/mine && ganzoo sample artifacts/mine --out points.png"
    run("bash", "-ec", env, cwd=tmp_path)
    assert (tmp_path / "points.png").exists()
