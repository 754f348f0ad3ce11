"""The gate: what passes is what torch computes, and what does not pass leaves the old artifact alone."""

import dataclasses
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from serving.errors import EngineError, UserError
from serving.runtime import golden
from serving.runtime.artifact import read_manifest
from serving.runtime.engine import Engine
from serving.runtime.golden import ParityError
from serving.runtime.latents import draw_latents
from serving.runtime.load import load
from serving.runtime.manifest import Tensor as TensorSpec
from tests.conftest import small_config
from training.__main__ import main
from training.artifacts.export import export
from training.cli.inference import open_model
from training.cli.train import parse
from training.graphs import parity
from training.graphs.parity import measure, solve
from training.graphs.pixels import to_pixels
from training.graphs.trace import GraphError, finish, only, trace
from training.loop.averaged import open_averaged
from training.loop.train import train
from training.run.scores import read_scores


@pytest.fixture(scope="module")
def graph(artifacts):
    return onnx.load(artifacts / "pictures" / "generator.onnx")


def test_an_artifact_is_a_folder_that_explains_itself(artifacts):
    names = {path.name for path in (artifacts / "pictures").iterdir()}
    pipeline = {"generator.onnx", "generator.cpu.fp32.onnx", "generator.golden.safetensors"}
    assert names == {*pipeline, "manifest.json", "generator.png", "README.md"}
    manifest = json.loads((artifacts / "pictures" / "manifest.json").read_text())
    assert manifest["entry"] == "dcgan"
    assert manifest["hyperparameters"]["width"] == 4
    assert manifest["training"]["steps"] == 60
    assert manifest["training"]["data"] == "glyphs"
    assert manifest["licence"] == "CC0-1.0"
    with Image.open(artifacts / "pictures" / "generator.png") as sheet:
        assert sheet.size == (8 * 18 + 2, 8 * 18 + 2)


def test_the_licence_and_the_makers_of_own_data_are_stated(runs, tmp_path):
    stated = ["--licence", "CC-BY-4.0", "--credit", "drawings by Ada Example"]
    assert main(["export", str(runs / "pictures"), str(tmp_path / "stated"), *stated]) == 0
    manifest = read_manifest(tmp_path / "stated")
    assert (manifest.licence, manifest.credit) == ("CC-BY-4.0", "drawings by Ada Example")
    card = (tmp_path / "stated" / "README.md").read_text()
    assert "Licence of the data: CC-BY-4.0. Credit: drawings by Ada Example. All" in card


@pytest.mark.parametrize("name", ["pictures", "classes", "points", "styles", "pairs"])
def test_the_cards_command_trains_the_like(name, artifacts):
    manifest = read_manifest(artifacts / name)
    (line,) = re.findall(
        "^    (ganzoo train .*)$", (artifacts / name / "README.md").read_text(), re.MULTILINE
    )
    _, _, entry, *flags = shlex.split(line)
    config, _ = parse(entry, flags)
    trained = dataclasses.replace(config, entry=config.entry.for_data(classes=len(manifest.labels)))
    assert json.loads(trained.to_json())["hyperparameters"] == manifest.hyperparameters
    said = (config.train.data, config.train.steps, config.train.seed, config.train.ema)
    assert said == (
        manifest.training.data,
        manifest.training.steps,
        manifest.training.seed,
        manifest.training.ema,
    )


def test_the_engine_gives_what_torch_gives(artifacts, runs):
    latents = draw_latents(8, list(range(50)))
    averaged = open_averaged(runs / "pictures")
    with torch.no_grad():
        expected = to_pixels(averaged.generators.generator(torch.from_numpy(latents))).numpy()
    output = Engine(artifacts / "pictures", "cpu").run("generator", {"latent": latents})
    assert output.shape == (50, 16, 16, 1)
    assert output.dtype == np.uint8
    assert np.abs(output.astype(int) - expected).max() <= 1
    assert output.std() > 1, "a picture, not a constant"


@pytest.mark.parametrize("upsample", ["antialiased", pytest.param("resize", marks=pytest.mark.slow)])
def test_translators_that_upsample_without_transposed_convolutions(upsample, tmp_path):
    config = small_config("cyclegan", tmp_path / "run")
    entry = dataclasses.replace(config.entry, translator="resnet-6", upsample=upsample)
    train(dataclasses.replace(config, entry=entry))
    manifest = export(tmp_path / "run", tmp_path / "artifact")
    assert manifest.hyperparameters["upsample"] == upsample
    image = np.random.default_rng(0).integers(0, 256, (40, 24, 3), dtype=np.uint8)
    assert load(tmp_path / "artifact").translate(image).shape == image.shape


def test_vectors_stay_float(artifacts, runs):
    assert np.allclose(
        load(artifacts / "points").sample(70, seed=5),
        open_model(runs / "points").sample(70, seed=5),
        atol=1e-5,
    )


def test_the_graph_is_standard_and_says_nothing_of_the_machine(graph, artifacts):
    assert [(imported.domain, imported.version) for imported in graph.opset_import] == [("", 18)]
    assert [output.name for output in graph.graph.output] == ["output"]
    data = (artifacts / "pictures" / "generator.onnx").read_bytes()
    assert b".py" not in data
    assert b"/home" not in data
    assert str(artifacts).encode() not in data
    assert not any(weight.external_data for weight in graph.graph.initializer)


def test_the_same_checkpoint_gives_the_same_bytes(runs, artifacts, tmp_path):
    export(runs / "pictures", tmp_path / "pictures")
    for file in (artifacts / "pictures").iterdir():
        assert (tmp_path / "pictures" / file.name).read_bytes() == file.read_bytes(), file.name


def held(module, traced, inputs):
    cases = solve(module, inputs)
    return measure(only(traced, "float_output"), only(traced, "output"), cases)


class Tampered(nn.Module):
    """A generator that is other weights by the time it is compared."""

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 12)
        self.amount, self.exported = amount, False

    def forward(self, latent: Tensor) -> Tensor:
        image = torch.tanh(self.linear(latent)).reshape(-1, 3, 2, 2)
        return image + self.amount if self.exported else image


@pytest.mark.parametrize("amount", [1e-4, float("nan")])
def test_a_graph_that_differs_is_refused_with_the_worst_case(amount):
    module, example = Tampered(amount).eval(), {"latent": torch.randn(64, 4)}
    model = trace(module, example)
    assert held(module, model, parity.cases({}, example)).max_abs_error < 1e-6
    module.exported = True
    with pytest.raises(ParityError, match=r"difference from PyTorch must be at most .* for latent \(64, 4\)"):
        held(module, model, parity.cases({}, example))


class Rounding(nn.Module):
    """A generator whose float32 result is rounded to steps of 1/1024."""

    def __init__(self, offset: Tensor) -> None:
        super().__init__()
        self.offset = offset

    def forward(self, latent: Tensor) -> Tensor:
        return ((latent + self.offset) - self.offset).reshape(-1, 1, 2, 2)


class Bound(nn.Module):
    """A generator with a layer that takes float32 only."""

    def forward(self, latent: Tensor) -> Tensor:
        return nn.functional.linear(latent, torch.eye(4, dtype=torch.float32)).reshape(-1, 1, 2, 2)


@pytest.mark.parametrize(
    "module", [Rounding(torch.tensor(8192.0)), Bound()], ids=["rounding", "float32 only"]
)
def test_the_expected_output_is_exact(module):
    latent = torch.randn(64, 4)
    (case,) = solve(module, [{"latent": latent}])
    assert case.expected.dtype == np.float32
    assert np.array_equal(case.expected.reshape(64, 4), latent.numpy())


def test_a_float32_result_that_is_rounded_too_much_is_refused():
    module, example = Rounding(torch.tensor(8192.0)), {"latent": torch.randn(64, 4)}
    with pytest.raises(ParityError, match="difference from PyTorch"):
        held(module, trace(module, example), parity.cases({}, example))


def test_a_picture_that_depends_on_its_batch_is_refused():
    class Neighbourly(nn.Module):
        def forward(self, latent: Tensor) -> Tensor:
            mixed = latent - latent.mean(0, keepdim=True)
            return torch.tanh(mixed).reshape(-1, 1, 2, 2)

    example = {"latent": torch.randn(64, 4)}
    module = Neighbourly().eval()
    with pytest.raises(ParityError, match="differs between a batch"):
        held(module, trace(module, example), parity.cases({}, example))


def test_a_generator_that_fixes_its_batch_is_refused():
    class Counting(nn.Module):
        def forward(self, latent: Tensor) -> Tensor:
            return torch.tanh(latent).reshape(len(latent), 1, 2, 2)

    with pytest.raises(GraphError, match=r"batch.* latent has a fixed dimension"):
        trace(Counting().eval(), {"latent": torch.randn(64, 4)})


def test_weights_that_are_not_finite_are_refused():
    module = nn.Linear(2, 2)
    module.weight.data[0, 0] = float("inf")
    with pytest.raises(GraphError, match="weight"):
        trace(module, {"input": torch.zeros(2, 2)})


def test_a_generator_in_training_mode_becomes_the_graph_of_evaluation():
    module = nn.Sequential(nn.Linear(4, 12), nn.Dropout(0.5), nn.Unflatten(1, (3, 2, 2)), nn.Tanh())
    module.forward = lambda latent: nn.Sequential.forward(module, latent)
    model = trace(module.train(), {"latent": torch.randn(64, 4)})
    assert held(module.eval(), model, parity.cases({}, {"latent": torch.randn(64, 4)})).max_abs_error < 1e-6
    with pytest.raises(ParityError):
        held(module.train(), model, parity.cases({}, {"latent": torch.randn(64, 4)}))


def test_a_refusal_leaves_the_old_artifact_alone(runs, tmp_path, monkeypatch):
    export(runs / "points", tmp_path / "points")
    before = {path.name: path.read_bytes() for path in (tmp_path / "points").iterdir()}
    monkeypatch.setattr(golden, "MAX_ABS_ERROR", -1.0)
    with pytest.raises(ParityError):
        export(runs / "points", tmp_path / "points")
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "points").iterdir()}
    assert [path.name for path in tmp_path.iterdir()] == ["points"]


def test_no_run_and_no_checkpoint_are_said_so(tmp_path):
    with pytest.raises(ValueError, match="holds no run"):
        export(tmp_path, tmp_path / "artifact")


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A run with linear rates whose best score is neither its first nor its last, and three checkpoints."""
    folder = tmp_path_factory.mktemp("scored") / "run"
    options = {"data": "ring8", "checkpoint_every": 5, "score_every": 2, "score_samples": 500}
    config = small_config("mlp-gan-vector", folder, steps=24, keep_best=True, **options)
    train(dataclasses.replace(config, entry=dataclasses.replace(config.entry, schedule="linear")))
    assert 2 < read_scores(folder).best.step < 14
    return folder


def test_the_best_checkpoint_or_any_step_is_exported_and_the_manifest_says_which(scored, tmp_path):
    scores = read_scores(scored)
    best, last = scores.best, scores.last
    for which, at, is_best in (("newest", last, False), ("best", best, True), (str(best.step), best, True)):
        training = export(scored, tmp_path / which, which=which).training
        assert training.steps == at.step
        score = training.score
        assert (score.name, score.value, score.best) == ("total_variation", at.value, is_best)
        assert read_manifest(tmp_path / which).training == training
    assert np.array_equal(load(tmp_path / "best").sample(9), load(tmp_path / str(best.step)).sample(9)), (
        "one checkpoint by two names"
    )
    differences = load(tmp_path / "best").sample(9) - open_model(Path(f"{scored}@best")).sample(9)
    assert np.abs(differences).max() < 1e-5
    assert not np.allclose(load(tmp_path / "best").sample(9), load(tmp_path / "newest").sample(9))
    assert ", the best of the run." in (tmp_path / "best" / "README.md").read_text()
    assert ", the best of the run." not in (tmp_path / "newest" / "README.md").read_text()


def test_a_checkpoint_between_two_scores_has_none(scored, tmp_path):
    run = shutil.copytree(scored, tmp_path / "run")
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines if '"step": 24' not in line))
    assert export(run, tmp_path / "artifact").training.score is None
    assert "Score during the run" not in (tmp_path / "artifact" / "README.md").read_text()


def test_the_card_of_a_best_checkpoint_has_the_schedule_of_its_run(scored, tmp_path):
    training = export(scored, tmp_path / "best", which="best").training
    assert training.schedule_steps == 24
    said = f"--steps {training.steps} --schedule-steps 24"
    assert said in (tmp_path / "best" / "README.md").read_text()
    assert export(scored, tmp_path / "newest").training.schedule_steps is None


def test_a_step_that_is_not_kept_leaves_the_old_artifact_alone(scored, tmp_path):
    export(scored, tmp_path / "points")
    before = (tmp_path / "points" / "manifest.json").read_bytes()
    with pytest.raises(UserError, match=r"step 7 of the run .* is not kept; use newest or .* 24, 20, "):
        export(scored, tmp_path / "points", which=7)
    assert (tmp_path / "points" / "manifest.json").read_bytes() == before


def test_a_finished_graph_is_labelled(runs):
    averaged = open_averaged(runs / "points")
    model = trace(averaged.generators.generator, averaged.preview["generator"])
    finished = onnx.load_from_string(finish(only(model, "output"), {"entry": "linear-gan"}))
    assert [value.name for value in finished.graph.output] == ["output"]
    assert {prop.key: prop.value for prop in finished.metadata_props} == {"entry": "linear-gan"}


@pytest.mark.parametrize(("name", "grid"), [("styles", (4, 8)), ("pairs", (32, 32))])
def test_a_translator_takes_any_batch_and_any_size_of_its_grid(name, grid, artifacts):
    manifest = read_manifest(artifacts / name)
    assert manifest.task == "translate"
    for graph in manifest.graphs.values():
        image, output = graph.inputs["image"], graph.output
        assert (image.dtype, image.shape) == ("uint8", ["batch", "height", "width", 3])
        assert (output.dtype, output.shape) == (image.dtype, image.shape)
        assert image.grid == grid
        assert image.trained_size == ((16, 24) if name == "styles" else (32, 64))
        proof = graph.variants[0].parity
        assert proof.batches == [1, 2, 7]
        assert image.trained_size in proof.sizes
        assert any(height != width for height, width in proof.sizes)
        assert proof.max_abs_error < 5e-5
        assert proof.max_level_error <= 1


def test_the_sheet_of_a_translator_has_the_way_back(artifacts):
    with Image.open(artifacts / "styles" / "b2a.png") as sheet:
        assert sheet.size == (2 * 3 * 26 + 2, 3 * 18 + 2)


def test_random_images_of_several_sizes_are_what_a_translator_is_tried_with(artifacts):
    """Never constant ones: instance normalisation would divide noise by next to nothing."""
    specs = read_manifest(artifacts / "styles").graphs["a2b"].inputs
    cases = [case["image"] for case in parity.cases(specs, {})]
    assert [len(images) for images in cases[:3]] == [7, 2, 1]
    assert torch.equal(cases[0][:2], cases[1])
    assert len({images.shape[1:] for images in cases}) == 4
    assert all(images.float().std((1, 2)).min() > 50 for images in cases)


def test_a_translator_that_mixes_its_batch_is_refused():
    class Neighbourly(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return (image - image.mean(0, keepdim=True)).clamp(-1, 1)

    spec = TensorSpec(
        dtype="uint8", shape=["batch", "height", "width", 3], meaning="image", multiple=4, least=8
    )
    module = Neighbourly().eval()
    model = trace(module, {"image": torch.zeros(2, 16, 24, 3, dtype=torch.uint8)}, 4)
    with pytest.raises(ParityError, match="differs between a batch"):
        held(module, model, parity.cases({"image": spec}, {}))


def test_a_translator_of_one_size_is_refused():
    class Fixed(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image.reshape(-1, 3, 16, 24).tanh()

    with pytest.raises(GraphError, match="size"):
        trace(Fixed().eval(), {"image": torch.zeros(2, 16, 24, 3, dtype=torch.uint8)}, 4)


@pytest.mark.parametrize("there", ["folder", "file"])
def test_what_is_no_artifact_is_not_replaced(there, runs, tmp_path):
    place = tmp_path / "precious"
    if there == "folder":
        place.mkdir()
        (place / "photograph").touch()
    else:
        place.touch()
    with pytest.raises(ValueError, match="is not an artifact"):
        export(runs / "points", place)
    assert (place / "photograph").exists() if there == "folder" else place.is_file()


@pytest.fixture
def cuda(artifacts):
    try:
        return Engine(artifacts / "pictures", "cuda")
    except EngineError as error:
        pytest.skip(f"ONNX Runtime can't use CUDA: {error}")


@pytest.mark.gpu
def test_cuda_gives_what_the_cpu_gives(artifacts, cuda):
    latents = {"latent": draw_latents(8, list(range(64)))}
    expected = Engine(artifacts / "pictures", "cpu").run("generator", latents)
    assert np.abs(cuda.run("generator", latents).astype(int) - expected).max() <= 1


@pytest.mark.gpu
@pytest.mark.parametrize("size", [1, 2, 7, 32])
def test_a_picture_is_the_same_in_any_batch_on_cuda(cuda, size):
    latents = draw_latents(8, list(range(64)))
    whole = cuda.run("generator", {"latent": latents})
    assert np.array_equal(cuda.run("generator", {"latent": latents[:size]}), whole[:size])


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "size"), [("styles", (16, 24)), ("styles", (36, 64)), ("pairs", (32, 64))])
def test_translators_on_cuda_give_what_the_cpu_gives(name, size, artifacts):
    try:
        engine = Engine(artifacts / name, "cuda")
    except EngineError as error:
        pytest.skip(f"ONNX Runtime can't use CUDA: {error}")
    images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    expected = Engine(artifacts / name, "cpu").run("a2b", {"image": images})
    assert np.abs(engine.run("a2b", {"image": images}).astype(int) - expected).max() <= 1
