"""The floors, the ban on torch, and the size of a room."""

import ast
import re
import subprocess
import sys
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("zoo", "training", "serving")
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
MODULES = [path for path in FILES if path.name != "__init__.py"]

FLOORS = {
    "zoo": (
        {"zoo.models", "zoo.registry"},
        {"zoo.super_resolution"},
        {"zoo.adversarial", "zoo.translation"},
        {"zoo.translators", "zoo.objectives", "zoo.regularizers", "zoo.augment", "zoo.bounds"}
        | {"zoo.efficientnet", "zoo.degradations"},
        {"zoo.entry"},
        {"zoo.fields"},
        {"zoo.errors"},
    ),
    "serving": (
        {"serving.__main__"},
        {"serving.cli", "serving.service"},
        {"serving.api"},
        {"serving.middleware", "serving.repository", "serving.offline", "serving.launcher", "serving.client"},
        {"serving.settings", "serving.metrics"},
        {"serving.shared_metrics"},
        {"serving.runtime"},
        {"serving.imaging", "serving.validation"},
        {"serving.system"},
        {"serving.addresses", "serving.arrays", "serving.errors", "serving.exports"},
    ),
    "training": (
        {"training.__main__"},
        {"training.cli"},
        {"training.api"},
        {"training.artifacts"},
        {"training.loop"},
        {"training.evaluation"},
        {"training.data", "training.graphs", "training.run"},
    ),
}
"""The folders and single modules of each package, top floor first: imports go down, never up or across."""

FOR_ALL_OF_TRAINING = {
    *(f"serving.{part}" for part in ("arrays", "errors", "imaging", "runtime", "system", "validation")),
    *(
        f"zoo.{part}"
        for part in (
            *("degradations", "efficientnet", "entry", "errors", "fields", "models", "registry"),
            *("super_resolution", "translators"),
        )
    ),
}
FOR_THE_COMMAND_LINE = {"serving.cli", "serving.offline", "serving.settings", "serving.launcher"}
"""What training imports of the other packages, and what only its command line does."""

BROUGHT = {
    "zoo": {"torch"},
    "serving": {
        *("numpy", "PIL", "onnxruntime", "bentoml", "pydantic", "starlette", "prometheus_client"),
        # For reading ONNX files without ONNX's package.
        "google",
        # For the connections themselves.
        *("uvicorn", "httptools", "click"),
        # For bulk sampling: a bar, a lock on a folder, and Ray where it is asked for.
        *("tqdm", "filelock", "ray"),
        # For the command line, the golden examples and the clients.
        *("tyro", "safetensors", "httpx"),
        # For signed images.
        *("c2pa", "cryptography"),
        # For traces.
        "opentelemetry",
    },
    "training": {
        *("torch", "torchvision", "onnx", "onnx_ir", "numpy", "PIL", "safetensors"),
        *("pydantic", "tensorboard", "tyro", "torchmetrics", "torch_fidelity"),
    },
}
"""What each package may import of others', beside the standard library."""


def part_of(module: str) -> str:
    """The folder that a module is in, as FLOORS has it, or the module itself where it is in none."""
    return ".".join(module.split(".")[:2])


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


def allowed(part: str) -> set[str]:
    """The parts of ours that a part may import: those on lower floors, and those of the packages below."""
    package = part.partition(".")[0]
    floors = FLOORS[package]
    here = next(number for number, floor in enumerate(floors) if part in floor)
    below = set().union({part}, *floors[here + 1 :])
    if package == "training":
        below |= FOR_ALL_OF_TRAINING | (FOR_THE_COMMAND_LINE if part == "training.cli" else set())
    return below


def forbidden(path: Path, names: set[str]) -> set[str]:
    place = path.relative_to(ROOT).with_suffix("")
    part = part_of(".".join(place.parts))
    ours, theirs = allowed(part), BROUGHT[place.parts[0]] | sys.stdlib_module_names
    return {name for name in names if part_of(name) not in ours and name.partition(".")[0] not in theirs}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_import_goes_down_the_floors(path):
    assert not forbidden(path, imports(path))


def test_every_folder_has_its_floor():
    parts = {part_of(".".join(path.relative_to(ROOT).with_suffix("").parts)) for path in MODULES}
    assert parts == set().union(*(floor for floors in FLOORS.values() for floor in floors))


def test_a_wrong_arrow_would_be_seen():
    """The control: the same check over arrows that must not be, up, across and out of the house."""
    wrong = {
        "zoo/models/dcgan.py": "training.loop.train",
        "zoo/entry.py": "zoo.adversarial",
        "serving/runtime/engine.py": "torch",
        "serving/runtime/pipeline.py": "serving.offline.sample",
        "serving/system/files.py": "serving.imaging.codec",
        "serving/repository/repository.py": "serving.api.schemas",
        "training/loop/train.py": "serving.repository.batcher",
        "training/data/glyphs.py": "training.run.config",
        "training/graphs/trace.py": "training.loop.state",
        "training/artifacts/export.py": "serving.offline.sample",
    }
    for file, name in wrong.items():
        assert (ROOT / file).exists()
        assert forbidden(ROOT / file, {name}) == {name}, file
    assert forbidden(ROOT / "training/cli/main.py", {"serving.offline.sample"}) == set()


def test_no_modules_import_each_other_in_a_circle():
    """Not for their types either."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in MODULES}
    arrows = {name: imports(path) & names.keys() for name, path in names.items()}
    assert len(list(TopologicalSorter(arrows).static_order())) == len(names)
    with pytest.raises(CycleError):  # the control
        TopologicalSorter(arrows | {"serving.errors": {"serving.service"}}).prepare()


def test_only_one_file_opens_the_door_to_torchvision():
    users = [path.name for path in FILES if any(name.startswith("torchvision") for name in imports(path))]
    assert users == ["torchvision_sets.py"]


TRAINS = {"torch", "torchvision", "onnx", "training", "zoo"}


@pytest.mark.parametrize(
    "code",
    [
        "import serving.service",
        "from serving.cli.main import main; main(['sample', 'dcgan-mnist', '--n=3', '--out', sys.argv[1]])",
        "from serving.cli.main import main; main(['verify', 'dcgan-mnist'])",
        "import serving; serving.Client, serving.load('dcgan-mnist').sample(3)",
    ],
    ids=["the server", "sample", "verify", "Python"],
)
def test_serving_never_loads_torch_or_what_trains(code, tmp_path):
    code = f"import sys\n{code}\nprint({TRAINS} & set(sys.modules))"
    command = [sys.executable, "-c", code, str(tmp_path / "out.png")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


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


MOST_MODULES = 14


def test_no_folder_is_a_street():
    counts = Counter(path.parent.relative_to(ROOT) for path in MODULES)
    assert max(counts.values()) <= MOST_MODULES, counts.most_common(3)


def test_no_room_for_what_has_no_name():
    nameless = {"utils", "common", "core", "base", "helpers", "misc", "util", "helper"}
    assert not nameless & {part for path in FILES for part in (path.stem, path.parent.name)}


COVERED_ELSEWHERE = {
    "zoo": {
        "zoo/entry.py": "tests/test_journey.py",
        "zoo/bounds.py": "tests/zoo/test_adversarial.py",
        "zoo/errors.py": "tests/training/cli/test_main.py",
        "zoo/translators.py": "tests/zoo/test_translation.py",
    },
    "training": {
        "training/__main__.py": "tests/training/cli/test_main.py",
        "training/cli/train.py": "tests/training/cli/test_main.py",
        "training/cli/artifacts.py": "tests/training/cli/test_main.py",
        "training/cli/inference.py": "tests/training/cli/test_main.py",
        "training/cli/demo.py": "tests/test_journey.py",
        **dict.fromkeys(
            (
                f"training/evaluation/translation/{name}.py"
                for name in ("aligned", "domains", "translated", "truth")
            ),
            "tests/training/evaluation/translation/test_translations.py",
        ),
        "training/evaluation/extractor.py": "tests/training/evaluation/test_features.py",
        "training/data/transforms.py": "tests/training/data/test_dataset.py",
        "training/data/files/image_folder.py": "tests/training/data/test_dataset.py",
        "training/graphs/torch_pipeline.py": "tests/serving/offline/test_translate.py",
        "training/graphs/trace.py": "tests/training/artifacts/test_export.py",
        "training/api.py": "tests/test_public.py",
        "training/artifacts/state_dicts.py": "tests/training/artifacts/test_import_cyclegan.py",
        "training/artifacts/portable.py": "tests/serving/offline/test_verify.py",
        "training/graphs/parity.py": "tests/training/artifacts/test_export.py",
        "training/graphs/rules.py": "tests/training/graphs/test_rewrite.py",
        "training/artifacts/model_card.py": "tests/training/artifacts/test_export.py",
        "training/artifacts/writer.py": "tests/training/artifacts/test_export.py",
        "training/loop/rollback.py": "tests/training/loop/test_train.py",
        "training/run/software.py": "tests/training/run/test_config.py",
        "training/run/train_config.py": "tests/training/run/test_config.py",
        "training/loop/state.py": "tests/training/loop/test_train.py",
        "training/loop/averaged.py": "tests/training/artifacts/test_export.py",
    },
    "serving": {
        "serving/__main__.py": "tests/test_package.py",
        "serving/cli/main.py": "tests/training/cli/test_main.py",
        "serving/cli/inference.py": "tests/training/cli/test_main.py",
        "serving/runtime/onnx_file/protobuf.py": "tests/serving/runtime/onnx_file/test_weights.py",
        "serving/cli/serve.py": "tests/serving/test_launcher.py",
        "serving/client/protocol.py": "tests/serving/client/test_client.py",
        "serving/client/async_client.py": "tests/serving/client/test_client.py",
        "serving/runtime/display.py": "tests/serving/runtime/test_pipeline.py",
        "serving/runtime/origin.py": "tests/serving/runtime/test_manifest.py",
        "serving/runtime/load.py": "tests/serving/runtime/test_pipeline.py",
        "serving/runtime/golden.py": "tests/serving/offline/test_verify.py",
        "serving/imaging/intake.py": "tests/serving/runtime/test_pipeline.py",
        "serving/arrays.py": "tests/serving/runtime/test_engine.py",
        "serving/errors.py": "tests/serving/api/test_app.py",
        "serving/exports.py": "tests/test_public.py",
        "serving/validation.py": "tests/test_messages.py",
        "serving/metrics.py": "tests/serving/middleware/test_request.py",
        "serving/api/requests.py": "tests/serving/api/test_sampling.py",
        "serving/api/responses.py": "tests/serving/api/test_sampling.py",
        "serving/api/schemas.py": "tests/serving/api/test_openapi.py",
        "serving/api/open_inference/tensors.py": "tests/serving/api/open_inference/test_routes.py",
        "serving/imaging/files.py": "tests/training/data/test_dataset.py",
        "serving/imaging/sheets.py": "tests/serving/imaging/test_codec.py",
        "serving/middleware/exchange.py": "tests/serving/middleware/test_request.py",
        "serving/middleware/auth.py": "tests/serving/middleware/test_request.py",
        "serving/middleware/access_log.py": "tests/serving/middleware/test_request.py",
        "serving/repository/job.py": "tests/serving/repository/test_batcher.py",
        "serving/repository/model.py": "tests/serving/repository/test_repository.py",
        "serving/runtime/artifact.py": "tests/serving/runtime/test_manifest.py",
        "serving/runtime/tensor.py": "tests/serving/runtime/test_manifest.py",
        "serving/system/cpu.py": "tests/serving/runtime/test_sessions.py",
        "serving/system/locks.py": "tests/serving/system/test_files.py",
    },
}
"""Modules without a test file of their own, and the file that tests them through what uses them."""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_has_its_tests_in_the_same_folder(path):
    place = path.relative_to(ROOT)
    own = f"tests/{place.parent}/test_{place.name}"
    assert (ROOT / COVERED_ELSEWHERE[place.parts[0]].get(str(place), own)).exists()


def test_what_is_covered_elsewhere_has_no_test_file_of_its_own():
    for place in (Path(name) for names in COVERED_ELSEWHERE.values() for name in names):
        assert (ROOT / place).exists()
        assert not (ROOT / f"tests/{place.parent}/test_{place.name}").exists(), place


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
