"""What is installed: a wheel holds every module and every file of the playground."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILD = "from setuptools import build_meta; build_meta.build_wheel('dist')"


def wheel_of(tree: Path) -> set[str]:
    """Build a tree's wheel, and name its files."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD], cwd=tree, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = (tree / "dist").glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture
def tree(tmp_path):
    for package in ("zoo", "training", "serving"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, tmp_path)
    return tmp_path


def ours(tree: Path) -> set[str]:
    folders = (tree / package for package in ("zoo", "training", "serving"))
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(tree).as_posix() for path in files if path.suffix != ".md"}


def test_a_wheel_holds_every_module_and_the_page(tree):
    wanted = ours(tree)
    assert {"serving/api/open_inference/routes.py", "serving/playground/parts/dom.js"} < wanted
    assert wanted <= wheel_of(tree)


def test_a_wheel_without_sub_packages_would_be_seen(tree):
    """The control: packages named one by one, as they once were."""
    text = (tree / "pyproject.toml").read_text()
    found = '[tool.setuptools.packages.find]\ninclude = ["zoo*", "training*", "serving*"]'
    assert found in text
    named = '[tool.setuptools]\npackages = ["zoo", "training", "serving"]'
    (tree / "pyproject.toml").write_text(text.replace(found, named))
    assert ours(tree) - wheel_of(tree)
