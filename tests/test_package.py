"""What is installed: the wheel, alone in a clean environment, by hash."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest

from serving.launcher import free_port, running
from serving.runtime.load import load
from serving.runtime.pretrained import pretrained_folder
from tests.conftest import PRETRAINED

ROOT = Path(__file__).parents[1]
BUILD = "from hatchling import build; build.build_wheel('dist')"
PACKAGES = ("zoo", "training", "serving")


def wheel_of(tree: Path) -> Path:
    """Build a tree's wheel."""
    (tree / "dist").mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", BUILD], cwd=tree, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = (tree / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The files of a checkout that a wheel is built from."""
    folder = tmp_path_factory.mktemp("tree")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in PRETRAINED:
        shutil.copytree(ROOT / "artifacts" / name, folder / "artifacts" / name)
    for file in ("pyproject.toml", "README.md", "LICENSE", "ganzoo.py"):
        shutil.copy(ROOT / file, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(tree):
    return wheel_of(tree)


def missing_from(wheel: Path, tree: Path) -> set[str]:
    """The files of the packages that a wheel lacks."""
    files = (path for package in PACKAGES for path in (tree / package).rglob("*") if path.is_file())
    ours = {path.relative_to(tree).as_posix() for path in files} | {"ganzoo.py"}
    assert {"serving/api/open_inference/routes.py", "serving/playground/parts/dom.js"} < ours
    assert {f"{package}/py.typed" for package in PACKAGES} < ours
    return ours - set(zipfile.ZipFile(wheel).namelist())


def test_a_wheel_holds_every_module_and_the_page(wheel, tree):
    assert missing_from(wheel, tree) == set()


def test_a_wheel_without_a_package_would_be_seen(tree, tmp_path):
    """The control: a package that nobody named."""
    shutil.copytree(tree, tmp_path / "tree", ignore=shutil.ignore_patterns("dist"))
    text = (tree / "pyproject.toml").read_text()
    named = 'packages = ["zoo", "training", "serving", "ganzoo.py"]'
    assert named in text
    (tmp_path / "tree" / "pyproject.toml").write_text(text.replace(named, named.replace('"training", ', "")))
    assert missing_from(wheel_of(tmp_path / "tree"), tree)


def test_a_wheel_brings_the_pretrained_artifacts_and_is_small(wheel):
    members = zipfile.ZipFile(wheel).infolist()
    brought = [each for each in members if each.filename.startswith("serving/pretrained/")]
    assert {each.filename.split("/")[2] for each in brought} == set(PRETRAINED)
    assert sum(each.file_size for each in brought) <= 38e6
    assert wheel.stat().st_size <= 38e6


@pytest.fixture(scope="module")
def alone(wheel, tmp_path_factory):
    """The folder of the commands of an environment that holds the wheel and what it needs, by hash."""
    folder = tmp_path_factory.mktemp("alone")
    lock = folder / "requirements.txt"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    locked = (ROOT / "requirements" / "base.txt").read_text()
    lock.write_text(f"{locked}\ngan-zoo @ {wheel.as_uri()} --hash=sha256:{digest}\n")
    uv = f"{sys.prefix}/bin/uv"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder / "venv"], check=True)
    into = ["--python", folder / "venv", "--require-hashes", "--compile-bytecode"]
    subprocess.run([uv, "pip", "install", "--quiet", *into, "-r", lock], check=True)
    return folder / "venv" / "bin"


def run(*command: object, cwd: Path, status: int = 0, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


def test_it_installs_no_torch_and_none_of_cuda_s_gigabytes(alone):
    packages = next((alone.parent / "lib").glob("python*")) / "site-packages"
    names = {path.name.partition("-")[0].lower() for path in packages.glob("*.dist-info")}
    assert {"gan_zoo", "bentoml", "onnxruntime_gpu", "tyro"} <= names
    assert not {"torch", "torchvision", "onnx", "onnxscript", "triton", "ray"} & names
    assert not {name for name in names if name.startswith("nvidia") and name != "nvidia_ml_py"}
    megabytes = sum(path.stat().st_size for path in alone.parent.rglob("*") if path.is_file()) / 1e6
    assert 300 < megabytes < 700, "docs/python.md states 580 MB"


def test_it_samples_translates_and_verifies(alone, tmp_path):
    for command in ([alone / "ganzoo"], [alone / "python", "-m", "serving"]):
        run(
            *command, "sample", "cdcgan-mnist", "--n", "5", "--label", "3", "--out", "three.npy", cwd=tmp_path
        )
        expected = load(pretrained_folder() / "cdcgan-mnist").sample(5, label=3)
        assert np.array_equal(np.load(tmp_path / "three.npy"), expected)
        run(*command, "sample", "dcgan-glyphs", "--n", "1", "--out", "one.png", cwd=tmp_path)
        run(*command, "translate", "cyclegan-glyphs-style", "one.png", "styled.png", cwd=tmp_path)
        assert (tmp_path / "styled.png").stat().st_size > 500
        assert "within 0 levels of PyTorch" in run(*command, "verify", "dcgan-mnist", cwd=tmp_path).stdout
    listed = run(alone / "ganzoo", "list", "--pretrained", cwd=tmp_path).stdout
    assert [line.split()[0] for line in listed.splitlines()[1:]] == list(PRETRAINED)
    code = "import serving; print(serving.load('dcgan-mnist').sample(2).shape)"
    assert run(alone / "python", "-c", code, cwd=tmp_path).stdout == "(2, 32, 32, 1)\n"


def test_your_own_artifacts_come_before_those_of_the_wheel(alone, tmp_path):
    shutil.copytree(pretrained_folder() / "mlp-gan-mnist", tmp_path / "artifacts" / "dcgan-mnist")
    code = "import serving; print(serving.load('dcgan-mnist').sample(1).shape)"
    assert run(alone / "python", "-c", code, cwd=tmp_path).stdout == "(1, 28, 28, 1)\n"


VERBS = [
    ["train", "dcgan"],
    ["export", "run"],
    ["evaluate", "dcgan-mnist", "--data", "glyphs"],
    ["compare", "run"],
    ["validate-data", "folder:pictures"],
    ["import", "cyclegan", "weights.pth", "--artifact", "artifact"],
    ["demo"],
]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
def test_a_verb_that_needs_more_says_which_extra(verb, alone, tmp_path):
    said = run(alone / "ganzoo", *verb, cwd=tmp_path, status=2).stderr
    assert said == "ganzoo: torch is not installed; pip install 'gan-zoo[train]' installs it\n"
    assert list(tmp_path.iterdir()) == []


def test_a_name_of_training_says_so_too(alone, tmp_path):
    code = "import training; training.train"
    said = run(alone / "python", "-c", code, cwd=tmp_path, status=1).stderr.splitlines()[-1]
    assert said == "ImportError: torch is not installed; pip install 'gan-zoo[train]' installs it"


@pytest.fixture
def project(tmp_path):
    """A folder whose own packages have the names of ours, and fail as soon as they are imported."""
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(f"raise RuntimeError('the other {package}')")
    return tmp_path


def test_the_commands_work_in_a_project_with_packages_of_the_same_names(alone, project):
    run(alone / "ganzoo", "sample", "dcgan-mnist", "--n", "2", "--out", "two.npy", cwd=project)
    assert np.load(project / "two.npy").shape == (2, 32, 32, 1)
    port = free_port()
    command = [str(alone / "ganzoo"), "serve", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    environment = dict(os.environ) | {"BENTOML_DO_NOT_TRACK": "True"}
    with running(command, url, project / "log", environment, project):
        answer = httpx.post(f"{url}/v1/models/dcgan-mnist/sample", json={"n": 2, "seed": 0, "format": "npy"})
        assert answer.content == (project / "two.npy").read_bytes()
        assert httpx.get(f"{url}/v1/models/dcgan-glyphs").json()["name"] == "dcgan-glyphs"


@pytest.mark.parametrize("package", PACKAGES)
def test_where_they_cannot_one_line_names_the_clash(package, alone, project):
    for other in set(PACKAGES) - {package}:
        shutil.rmtree(project / other)
    said = run(alone / "ganzoo", "list", cwd=project, status=2, PYTHONPATH=str(project)).stderr
    assert said.count("\n") == 1
    assert str(project / package) in said
    assert f"`{package}`" in said
