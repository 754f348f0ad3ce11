"""The floors, the ban on torch, and the size of a room."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("zoo", "training", "serving")
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
OURS = {"zoo", "training", "serving", "tests"}

STAIRS = {
    "zoo": {"zoo"},
    "serving": {"serving"},
    "training": {
        "training",
        "zoo",
        "serving.runtime.manifest",
        "serving.runtime.engine",
        "serving.runtime.latents",
        "serving.runtime.sessions",
        # One decoder, one encoder and one kind of sheet for the lab and for the server.
        "serving.imaging.codec",
        "serving.errors",
        # The command line's `serve` has the server's own settings for flags.
        "serving.settings",
    },
}
"""What each room may import of ours."""

BROUGHT = {
    "zoo": {"torch"},
    "serving": {"numpy", "PIL", "onnxruntime", "bentoml", "pydantic", "starlette", "prometheus_client"},
    "training": {
        "torch",
        "torchvision",
        "onnx",
        "onnx_ir",
        "numpy",
        "PIL",
        "safetensors",
        "tensorboard",
        "filelock",
        "tqdm",
        "tyro",
        "torchmetrics",
        "torch_fidelity",
        "ray",
    },
}
"""What each room may import of others', beside the standard library."""


def imports(path: Path) -> set[str]:
    """Every module that a file imports; `from a import b` counts as a.b where that is a module of ours."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import():
                found |= {alias.name for alias in node.names}
            case ast.ImportFrom(module=str(module), level=0):
                parts = {f"{module}.{alias.name}" for alias in node.names}
                ours = {part for part in parts if (ROOT / (part.replace(".", "/") + ".py")).exists()}
                found |= ours or {module}
            case ast.ImportFrom():
                found.add("a relative import")
    return found


def forbidden(path: Path, names: set[str]) -> set[str]:
    room = path.relative_to(ROOT).parts[0]
    allowed = STAIRS[room] | BROUGHT[room] | sys.stdlib_module_names
    return {name for name in names if name not in allowed and name.partition(".")[0] not in allowed}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_import_goes_down_the_stairs(path):
    assert not forbidden(path, imports(path))


def test_a_wrong_arrow_would_be_seen():
    """The control: the same check over arrows that must not be."""
    wrong = {
        "zoo/models/dcgan.py": "training.loop.train",
        "serving/runtime/engine.py": "torch",
        "training/loop/train.py": "serving.repository.batcher",
    }
    for file, name in wrong.items():
        assert forbidden(ROOT / file, {name}) == {name}
    assert forbidden(ROOT / "serving/runtime/engine.py", {"zoo.registry"}) == {"zoo.registry"}


def test_only_one_file_opens_the_door_to_torchvision():
    users = [path.name for path in FILES if any(name.startswith("torchvision") for name in imports(path))]
    assert users == ["datasets.py"]


def test_the_server_never_loads_torch_or_what_trains():
    code = (
        "import sys, serving.service\n"
        "print({'torch', 'torchvision', 'onnx', 'training', 'zoo'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_has_one_idea_and_says_it_first(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 50, node.name


RUNS_WHAT_IT_READS = {"pickle", "cPickle", "dill", "shelve", "marshal", "joblib", "cloudpickle"}
SAFE = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}


def unpicklers(text: str) -> list[str]:
    """What a file calls or imports that runs what it reads."""
    tree = ast.parse(text)
    found = [name for node in ast.walk(tree) for name in _imported(node) if name in RUNS_WHAT_IT_READS]
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        said = {word.arg: word.value.value for word in call.keywords if isinstance(word.value, ast.Constant)}
        if name in SAFE and said.get(SAFE[name][0]) is not SAFE[name][1]:
            found.append(name)
        if name in ("eval", "exec", "yaml.load", "numpy.load"):
            found.append(name)
    return found


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_is_read_is_run(path):
    assert unpicklers(path.read_text()) == []


def test_an_unpickler_would_be_seen():
    """The control."""
    for text in (
        "import pickle",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "np.load(f)",
        "eval(x)",
    ):
        assert unpicklers(text), text
    assert unpicklers("torch.load(f, weights_only=True)") == []


def test_no_room_for_what_has_no_name():
    nameless = {"utils", "common", "core", "base", "helpers", "misc", "util", "helper"}
    assert not nameless & {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_has_its_tests_in_the_same_room(path):
    place = path.relative_to(ROOT)
    covered_elsewhere = {
        "zoo/entry.py": "tests/test_journey.py",
        "training/__main__.py": "tests/training/cli/test_main.py",
        "training/cli/train.py": "tests/training/cli/test_main.py",
        "training/cli/errors.py": "tests/training/cli/test_main.py",
        "training/cli/demo.py": "tests/test_journey.py",
        "serving/runtime/pipeline.py": "tests/serving/offline/test_translate.py",
        "training/graphs/torch_pipeline.py": "tests/serving/offline/test_translate.py",
        "training/data/image_folder.py": "tests/training/data/test_dataset.py",
        "training/artifacts/model_card.py": "tests/training/artifacts/test_export.py",
        "training/cli/inference.py": "tests/serving/offline/test_sample.py",
        "training/loop/state.py": "tests/training/loop/test_train.py",
        "training/run/directory.py": "tests/training/loop/test_train.py",
        "serving/launcher.py": "tests/serving/test_service.py",
        "training/graphs/trace.py": "tests/training/artifacts/test_export.py",
        "training/graphs/parity.py": "tests/training/artifacts/test_export.py",
        "training/artifacts/writer.py": "tests/training/artifacts/test_export.py",
        "training/graphs/rules.py": "tests/training/graphs/test_rewrite.py",
        "serving/repository/admission.py": "tests/serving/api/test_app.py",
        "serving/api/responses.py": "tests/serving/api/test_app.py",
        "serving/api/sampling.py": "tests/serving/api/test_app.py",
        "serving/api/translation.py": "tests/serving/api/test_app.py",
        "serving/api/schemas.py": "tests/serving/api/test_openapi.py",
        "serving/api/open_inference/tensors.py": "tests/serving/api/open_inference/test_routes.py",
        "serving/metrics.py": "tests/serving/middleware/test_request.py",
        "serving/middleware/auth.py": "tests/serving/middleware/test_request.py",
        "serving/middleware/access_log.py": "tests/serving/middleware/test_request.py",
        "serving/api/requests.py": "tests/serving/api/test_app.py",
        "serving/errors.py": "tests/serving/api/test_app.py",
        "serving/api/formats.py": "tests/serving/api/test_app.py",
        "serving/api/bodies.py": "tests/serving/api/test_app.py",
        "serving/leaving.py": "tests/reliability/test_trials.py",
    }
    if place.name != "__init__.py":
        own = f"tests/{place.parent}/test_{place.name}"
        assert (ROOT / covered_elsewhere.get(str(place), own)).exists()


def test_the_lock_names_no_registry_and_pins_everything():
    for lock in (ROOT / "requirements").glob("*.txt"):
        lines = [line for line in lock.read_text().splitlines() if line and not line.startswith("#")]
        assert not [line for line in lines if "://" in line or line.startswith("--")]
        pins = [line for line in lines if not line.startswith(" ")]
        assert all("==" in pin and pin.endswith("\\") for pin in pins)
        assert sum("--hash=sha256:" in line for line in lines) >= len(pins)


def test_the_package_and_the_house_have_one_version():
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert f"## {project[1]}" in (ROOT / "CHANGELOG.md").read_text()
