"""The canonical graphs in runtimes other than ours: loaded, run in several batches, and in agreement."""

import json
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from serving.runtime.artifact import read_manifest
from serving.runtime.latents import draw_inputs
from serving.runtime.sessions import open_session
from tests.conftest import PRETRAINED
from zoo import registry

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).with_name("readers")
INSTALLED = ROOT / ".venv" / "readers"
"""Where `make readers` installs what the tests' environment lacks."""

ARTIFACTS = (*registry.ENTRIES, "styles", *PRETRAINED)
"""Every entry, and a ResNet as translator (`styles`), because the small entries have U-Nets."""


class Reader(NamedTuple):
    """Another runtime, as a command that runs graphs, with the type of its pixels."""

    command: tuple[str | Path, ...]
    pixels: str


PYTHON = (sys.executable, HERE / "run.py")
READERS = {
    "OpenCV 4": Reader((*PYTHON, "opencv"), "float32"),
    "OpenCV 5": Reader(("env", f"PYTHONPATH={INSTALLED / 'opencv5'}", *PYTHON, "opencv"), "uint8"),
    "OpenVINO": Reader((*PYTHON, "openvino"), "uint8"),
    "ONNX Runtime Web": Reader(
        ("env", f"NODE_PATH={INSTALLED / 'node_modules'}", "node", HERE / "run.cjs"), "uint8"
    ),
}


def absent(name: str) -> str | None:
    """Return why a reader can't be run, or None."""
    match name:
        case "OpenCV 4" if not distribution("opencv-python-headless").startswith("4."):
            return "the package opencv-python-headless 4 is not installed"
        case "OpenVINO" if not distribution("openvino"):
            return "the package openvino is not installed"
        case "OpenCV 5" if not (INSTALLED / "opencv5").is_dir():
            return "make readers installs OpenCV 5"
        case "ONNX Runtime Web" if not (INSTALLED / "node_modules").is_dir() or not shutil.which("node"):
            return "make readers installs onnxruntime-web, for Node.js"
    return None


def distribution(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


@pytest.fixture(scope="module")
def graphs(zoo_artifacts, artifacts, tmp_path_factory):
    """The canonical graph of every artifact as ARTIFACT.GRAPH.onnx, with inputs, and our outputs for them."""
    folder, expected = tmp_path_factory.mktemp("graphs"), {}
    for name in ARTIFACTS:
        (place,) = [
            root / name
            for root in (zoo_artifacts, artifacts, ROOT / "artifacts")
            if (root / name / "manifest.json").exists()
        ]
        for key, graph in read_manifest(place).graphs.items():
            path = shutil.copyfile(place / graph.variants[0].file, folder / f"{name}.{key}.onnx")
            cases = list(cases_of(graph.inputs))
            path.with_suffix(".inputs.json").write_text(json.dumps([as_json(case) for case in cases]))
            session = open_session(path.read_bytes(), "cpu")
            expected[path.stem] = [session.run(None, case)[0] for case in cases]
    return folder, expected


def cases_of(specs):
    """Batches of several sizes, images of several sizes; one session runs them in turn."""
    if "image" not in specs:
        yield from (draw_inputs(specs, list(range(size))) for size in (7, 1, 2))
        return
    multiple, least = specs["image"].grid
    draws = np.random.default_rng(0)
    for size, height, width in ((3, least, least), (1, least, least + multiple), (2, 2 * least, least)):
        yield {"image": draws.integers(0, 256, (size, height, width, specs["image"].size), dtype=np.uint8)}


def as_json(case):
    return {
        name: {"type": str(array.dtype), "shape": array.shape, "data": array.ravel().tolist()}
        for name, array in case.items()
    }


@pytest.fixture(scope="module", params=READERS)
def read(request, graphs):
    """A reader's name, its version, and its outputs of each graph."""
    name, (folder, _) = request.param, graphs
    if reason := absent(name):
        pytest.skip(reason)
    done = subprocess.run(
        [*READERS[name].command, *sorted(folder.glob("*.onnx"))],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=600,
    )
    found = {path.name.removesuffix(".outputs.json"): path for path in folder.glob("*.outputs.json")}
    outputs = {graph: json.loads(path.read_text()) for graph, path in found.items()}
    for path in found.values():
        path.unlink()
    return name, done.stdout.strip(), outputs


@pytest.mark.slow
@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_a_reader_agrees(artifact, read, graphs):
    name, _, outputs = read
    _, expected = graphs
    (*own,) = [graph for graph in expected if graph.rpartition(".")[0] == artifact]
    assert own
    for graph in own:
        assert not isinstance(outputs[graph], str), outputs[graph]
        for output, wanted in zip(outputs[graph], expected[graph], strict=True):
            got = np.array(output["data"], output["type"]).reshape(output["shape"])
            assert got.shape == wanted.shape
            if wanted.dtype == np.uint8:
                assert got.dtype == READERS[name].pixels
                assert np.array_equal(got, got.astype(np.uint8)), "whole numbers from 0 to 255"
                assert np.abs(got.astype(int) - wanted).max() <= 1
            else:
                assert np.allclose(got, wanted, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_the_table_says_what_was_tried(read):
    name, version, _ = read
    rows = [line.split("|")[1:-1] for line in (ROOT / "docs" / "export.md").read_text().splitlines()]
    table = {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in rows if len(cells) == 4}
    assert table.keys() >= READERS.keys()
    assert table[name] == [version, "all", READERS[name].pixels]
