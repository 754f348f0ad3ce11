"""The Python API: the names that are exported, their types, and what training's three functions return."""

import importlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import serving
import training
from serving.runtime.artifact import read_manifest
from training.run.config import RunConfig
from zoo import registry
from zoo.models.dcgan import DCGAN2015
from zoo.models.linear_gan import LinearGAN

NAMES = {
    "serving": {
        *("APIError", "AsyncClient", "Client", "Manifest", "Pipeline", "UserError"),
        *("load", "pretrained", "save", "to_pil"),
    },
    "training": {"Evaluation", "TrainConfig", "evaluate", "export", "train"},
}


@pytest.mark.parametrize("package", NAMES)
def test_these_names_are_public_and_no_others(package):
    module = importlib.import_module(package)
    assert set(module.__all__) == set(dir(module)) == NAMES[package]
    for name in NAMES[package]:
        assert getattr(module, name).__doc__
        assert getattr(module, name).__module__.partition(".")[0] in ("serving", "training")
    with pytest.raises(AttributeError, match="no attribute 'open_artifact'"):
        _ = module.open_artifact


def test_importing_the_packages_imports_nothing_heavy():
    code = "import sys, serving, training, zoo; print({'torch', 'numpy', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_name_whose_packages_are_missing_says_which_extra():
    code = "import sys; sys.modules['httpx'] = None; import serving; serving.Client"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    said = "ImportError: httpx is not installed; pip install 'gan-zoo[client]' installs it"
    assert done.stderr.splitlines()[-1] == said


USE = """
from pathlib import Path

from PIL import Image

import serving
import training
from zoo.models.dcgan import DCGAN


def use(photo: Path) -> None:
    run: Path = training.train(DCGAN(image_size=32), training.TrainConfig(data="glyphs", steps=10))
    with serving.load(training.export(run), provider="cpu", precision="fp32", threads=1) as model:
        shape: tuple[int, ...] = model.sample(4, seed=7, label=None, truncation=0.7).shape
        size: int = model.interpolate([1, 2], n=8).size
        picture: Image.Image = serving.to_pil(model.sample(4))
        one: int = model.translate(photo, direction="a2b").ndim
        many: list[int] = [pixels.ndim for pixels in model.translate([photo, picture])]
        entry: str = model.manifest.entry if model.manifest else ""
    client = serving.Client("http://127.0.0.1:3000", key="secret")
    rows: int = len(client.sample(4, seed=7))
    scores: dict[str, float] = training.evaluate("dcgan-mnist", "glyphs", n=100).scores
    print(shape, size, one, many, entry, rows, scores)
"""

MISUSE = {
    'serving.load("x").sample("four")': "arg-type",
    'serving.load("x", provider="tpu")': "arg-type",
    'training.train("dcgan", steps=5)': "call-arg",
    "serving.no_such": "attr-defined",
}


@pytest.mark.slow
def test_a_type_checker_knows_the_api(tmp_path):
    """And, as the control, it finds what is wrong."""
    (tmp_path / "use.py").write_text(USE)
    lines = [f"{line}  # type: ignore[{code}]" for line, code in MISUSE.items()]
    (tmp_path / "misuse.py").write_text("\n".join(["import serving", "import training", *lines, ""]))
    command = [sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", "use.py", "misuse.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "Success: no issues found in 2 source files", done.stdout


def test_a_run_becomes_an_artifact_with_scores(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = training.TrainConfig(data="gaussian2d", steps=3, out=tmp_path / "runs" / "points", device="cpu")
    run = training.train(LinearGAN(batch_size=8), config)
    assert run == tmp_path / "runs" / "points"
    assert RunConfig.read(run).name == "linear-gan"
    assert training.train(LinearGAN(batch_size=8), config) == run, "there is nothing left to do"
    with pytest.raises(ValueError, match="batch_size"):
        training.train("linear-gan", config)
    artifact = training.export(run)
    assert artifact.resolve() == tmp_path / "artifacts" / "points"
    evaluation = training.evaluate("points", "gaussian2d", n=500)
    assert set(evaluation.scores) == {"wasserstein2"}
    assert read_manifest(artifact).metrics == [evaluation]
    with serving.load("points") as model:
        assert model.sample(5).shape == (5, 2)
        assert model.sample(5).dtype == np.float32


def test_a_thread_may_train(tmp_path):
    """As in a notebook's or a server's own thread, where no signal can be handled."""
    config = training.TrainConfig(data="gaussian2d", steps=2, out=tmp_path / "run", device="cpu")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(training.train, "linear-gan", config).result() == tmp_path / "run"
    assert training.export(tmp_path / "run", tmp_path / "points") == tmp_path / "points"


def test_an_entry_is_named_as_in_the_zoo_or_by_its_import_path():
    assert registry.name_of(DCGAN2015) == "dcgan-2015"
    assert {registry.name_of(registry.load(name)) for name in registry.ENTRIES} == set(registry.ENTRIES)
    own = type("Own", (LinearGAN,), {"__module__": "my_lab.gans"})
    assert registry.name_of(own) == "my_lab.gans:Own"


def test_an_entry_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="no-such"):
        training.train("no-such")
    with pytest.raises(ValueError, match="nowhere"):
        training.export(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="nowhere"):
        training.evaluate("nowhere", "glyphs")
