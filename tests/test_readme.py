"""The documents' commands, run as they stand."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from serving.launcher import free_port, running
from serving.runtime.pretrained import pretrained, table
from tests.training.artifacts.test_import_cyclegan import Original
from tests.training.artifacts.test_import_esrgan import weights
from tests.warm import warm

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/python.md", "docs/training.md", "docs/export.md", "docs/serving.md")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
TEXT = "\n".join((ROOT / page).read_text() for page in PAGES)


def blocks(kind: str) -> list[str]:
    """All code blocks of a kind.

    `bash` and `python local` are run, `bash ask` and `python` beside `bash serve`; `sh own` is run in few
    steps; `sh` is checked.
    """
    found = re.findall(rf"^```{kind}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"there is no {kind} block"
    return found


def environment(first: Path | None = None) -> dict[str, str]:
    return dict(os.environ) | {
        "PATH": f"{first or ''}:{sys.prefix}/bin:{os.environ['PATH']}",
        "BENTOML_DO_NOT_TRACK": "True",
    }


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """One cache for all pages: the classifier that scores drawn characters is trained once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def at_once(tmp_path_factory):
    """A folder with a `ganzoo` that starts at once."""
    with warm(tmp_path_factory.mktemp("warm")) as folder:
        yield folder


def run(*command: str, cwd: Path, first: Path | None = None) -> str:
    """Run a command, with the programs of the folder `first` before all others."""
    surroundings = environment(first)
    done = subprocess.run(command, cwd=cwd, env=surroundings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def shortened(text: str) -> str:
    """Commands with fewer steps and samples: what they print and write is the same but for its worth.

    Scores of enlarged images are left out, for which a classifier of characters in colour would be trained.
    """
    text = text.replace("ganzoo evaluate artifacts/larger --data glyphs --n 200\n", "")
    text = re.sub(r"--steps (\d+)", lambda found: f"--steps {min(int(found[1]), 20)}", text)
    return re.sub(r"--n (\d{4,})", "--n 300", text)


@pytest.mark.parametrize(
    "as_run", [shortened, pytest.param(str, marks=pytest.mark.slow)], ids=["shortened", "as they stand"]
)
def test_train_export_serve(as_run, tmp_path, at_once):
    """Every block of every page, in order, in one folder; a server answers those that ask."""
    port = str(free_port())
    shutil.copytree(ROOT / "artifacts", tmp_path / "artifacts")
    first = at_once if as_run is shortened else None
    said = [run("bash", "-ec", as_run(text), cwd=tmp_path, first=first) for text in blocks("bash")]
    with Image.open(tmp_path / "first.png") as sheet:
        assert sheet.size == (8 * 30 + 2, 8 * 30 + 2)
    named = re.search(r"^\| score \| of .*?\n\n", TEXT, re.MULTILINE | re.DOTALL)
    (scores,) = (text for text in said if "coverage" in text)
    for score in (line.split()[0] for line in (scores.splitlines()[1:])):
        assert f"`{score}`" in named[0]
    for word in ("recoloured", "total_variation", "PyTorch"):
        assert [text for text in said if word in text]

    serve, again = blocks("bash serve")
    assert again.split() == [*serve.split(), "--port", "3000"], "the first is the default of the second"
    command = ["bash", "-ec", f"exec {again.replace('3000', port)}"]
    url = f"http://127.0.0.1:{port}"
    with running(command, url, tmp_path / "log", environment(), tmp_path):
        by_command = (tmp_path / "styled.png").read_bytes()
        for text in blocks("bash ask"):
            run("bash", "-ec", text.replace("3000", port), cwd=tmp_path, first=first)
        with Image.open(tmp_path / "sheet.png") as sheet:
            assert sheet.size == (4 * 30 + 2, 4 * 30 + 2)
        assert (tmp_path / "styled.png").read_bytes() == by_command
        for client in blocks("python"):
            run(sys.executable, "-c", client.replace("3000", port), cwd=tmp_path)
        assert "GAN Zoo" in httpx.get(f"{url}/").text


@pytest.mark.parametrize("number", range(len(blocks("python local"))))
def test_the_examples_in_python(number, tmp_path):
    run(sys.executable, "-c", blocks("python local")[number], cwd=tmp_path)
    for picture in tmp_path.glob("*.png"):
        with Image.open(picture) as image:
            assert min(image.size) >= 28


def test_the_first_screen_of_the_readme_has_three_lines_of_python():
    first = "\n".join((ROOT / "README.md").read_text().splitlines()[:12])
    (code,) = re.findall(r"```python local\n(.*?)```", first, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) == 3


def commands() -> list[str]:
    return [line for text in blocks("sh") for line in text.replace("\\\n", " ").splitlines() if line]


SLOW = {True: [pytest.mark.slow], False: []}


@pytest.mark.parametrize(
    "command", [pytest.param(each, marks=SLOW["import" in each.split()]) for each in commands()]
)
def test_the_commands_that_are_not_run_are_at_least_right(command, tmp_path, at_once):
    """What downloads, needs a GPU or would call itself: make's verbs exist, ganzoo's flags can be read."""
    match command.split():
        case ["make", verb, *_]:
            assert re.search(rf"^{verb}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        case ["docker", "run", *flags]:
            assert {"--read-only", "--tmpfs", "--cap-drop"} < set(flags), "as the tests of the image run it"
        case ["ganzoo", "train", *flags]:
            assert '"entry"' in run("ganzoo", "train", *flags, "--dry-run", cwd=tmp_path, first=at_once)
        case ["ganzoo", "import", kind, *files, "--artifact", _] if kind in ("cyclegan", "esrgan"):
            for file in files:
                torch.save(Original().state_dict() if kind == "cyclegan" else weights(), tmp_path / file)
            assert run("bash", "-ec", command, cwd=tmp_path, first=at_once).strip() == command.split()[-1]
        case _:
            pytest.fail(f"nothing checks {command}")


def test_the_tables_list_every_entry_every_data_and_every_setting():
    import dataclasses

    from serving.settings import Settings
    from training.data.dataset import SOURCES
    from zoo.adversarial import SCHEDULES
    from zoo.augment import TRANSFORMS
    from zoo.objectives import OBJECTIVES
    from zoo.registry import ENTRIES
    from zoo.regularizers import REGULARIZERS

    for name in (*ENTRIES, *OBJECTIVES, *REGULARIZERS, *TRANSFORMS, *SCHEDULES):
        assert f"`{name}`" in TEXT
    for name in SOURCES:
        assert f"`{name}" in TEXT
    for field in dataclasses.fields(Settings):
        assert f"| `GANZOO_{field.name.upper()}` | `{field.default}` |".replace("`", "") in TEXT.replace(
            "`", ""
        )


def test_the_models_that_are_there_are_those_told_of():
    said = [line.split() for line in table(pretrained()).splitlines()]
    (told,) = re.findall(r"```\n(name .+?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(told.splitlines()) == 9
    assert all(line.split() in said for line in told.splitlines())


def test_the_table_of_speeds_is_the_benchmark_s():
    text = (ROOT / "docs" / "scale.md").read_text()
    lines = re.search(r"\| bf16, compiled \|\n.+\n((?:\|.+\n)+)", text)[1].splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    told = {name: ratios for name, *ratios in cells}
    rows = json.loads((ROOT / "benchmarks" / "training.json").read_text())["rows"]
    assert len(told) == 5
    for row in rows:
        rates = [row["samples/s"].get(who) for who in ("ours fp32", "ours bf16", "ours bf16, compiled")]
        ratios = [f"{rate / row['samples/s']['plain']:.1f}" if rate else "" for rate in rates]
        assert told.pop(row["kind"], ratios) == ratios, row["kind"]
    assert not told


def tree() -> set[str]:
    """The files that the tree of docs/architecture.md names, by their paths."""
    (text,) = re.findall(r"^```\n(zoo/.*?)^```$", ARCHITECTURE, re.MULTILINE | re.DOTALL)
    found, folders = set(), []
    for line in text.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        folders = folders[:depth]
        for name in re.match(r"(\S+\.py|\S+/)(  \S+\.py)*", line.lstrip())[0].split():
            if name.endswith("/"):
                folders.append(name)
            else:
                found.add("".join(folders) + name)
    return found


def test_the_tree_of_the_house_is_the_house():
    folders = ("zoo", "training", "serving")
    modules = {path.relative_to(ROOT).as_posix() for name in folders for path in (ROOT / name).rglob("*.py")}
    assert tree() == {"ganzoo.py"} | {module for module in modules if not module.endswith("__init__.py")}


def test_the_walks_enter_files_that_there_are():
    _, *walks = re.split(r"^## .* to .*$", ARCHITECTURE, flags=re.MULTILINE)
    entered = [re.findall(r"`((?:zoo|training|serving)/[\w/]+\.py)`", walk) for walk in walks]
    assert [len(files) for files in entered] == [19, 21, 28]
    assert {file for files in entered for file in files} <= tree()


def test_ones_own_images_are_trained_on_exported_and_scored(tmp_path, at_once):
    """The README's commands, in a few steps; the pictures are two colours of noise."""
    (text,) = blocks("sh own")
    noise = np.random.default_rng(0)
    for colour in range(2):
        (tmp_path / "pictures" / f"class {colour}").mkdir(parents=True)
        for number in range(20):
            pixels = noise.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            pixels[:, :, colour] = 255
            Image.fromarray(pixels).save(tmp_path / "pictures" / f"class {colour}" / f"{number}.png")
    shutil.make_archive(str(tmp_path / "pictures"), "zip", tmp_path / "pictures")
    few = "--score-every 2 --score-samples 10 --width 4 --batch-size 4 --steps 4"
    said = run("bash", "-ec", text.replace("--score-every 1000", few), cwd=tmp_path, first=at_once)
    assert "class 0 (20), class 1 (20)" in said
    assert "memorised" in said
    assert (tmp_path / "artifacts" / "pictures" / "nearest.png").is_file()


def test_a_gan_of_your_own(tmp_path, at_once):
    """The page's file and its commands, with fewer steps; in 60 lines, and by this house's own rules."""
    page = (ROOT / "docs" / "own-gan.md").read_text()
    (source,) = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    (commands,) = re.findall(r"^```bash\n(.*?)^ganzoo serve$", page, re.M | re.S)
    assert len(source.splitlines()) <= 60
    (tmp_path / "my_lab.py").write_text(source)
    rules = ("--isolated", "--line-length", "110", "--select", "B,C4,E,F,N,PIE,RET,RUF,SIM,UP,W")
    run(sys.executable, "-m", "ruff", "check", *rules, "my_lab.py", cwd=tmp_path)
    few = commands.replace("--width 16 --steps 600", "--width 4 --steps 5")
    run("bash", "-ec", few, cwd=tmp_path, first=at_once)
    with Image.open(tmp_path / "mine.png") as sheet:
        assert sheet.size == (8 * 34 + 2, 8 * 34 + 2)


PICTURE, LINK = re.compile(r"!\[[^]]+\]\(([^)]+)\)"), re.compile(r"(?<!!)\[[^]]+\]\(([^)#]+)[^)]*\)")


@pytest.mark.parametrize(
    "page", sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")]), ids=lambda page: page.name
)
def test_every_picture_and_every_link_leads_somewhere(page):
    for place in PICTURE.findall(page.read_text()) + LINK.findall(page.read_text()):
        assert "://" in place or (page.parent / place).exists(), place
