"""Smaller types: in the same artifact, measured on other examples than calibrated with, refused if coarse."""

import shutil

import numpy as np
import onnx
import pytest
from PIL import Image
from torch import nn

from serving.offline.verify import verify
from serving.runtime import golden
from serving.runtime.artifact import read_manifest
from serving.runtime.engine import Engine
from serving.runtime.golden import ParityError
from serving.runtime.latents import draw_inputs
from tests.conftest import small_config
from training.artifacts.evaluate import evaluate
from training.artifacts.export import export
from training.data.dataset import open_data
from training.graphs import parity
from training.graphs.variants import Half
from training.loop.train import train
from training.run.config import RunConfig
from training.run.train_config import TrainConfig
from zoo.models.cdcgan import CDCGAN


@pytest.fixture(scope="module")
def wide(runs, tmp_path_factory):
    """A run of a conditional DCGAN with enough channels to be worth it."""
    folder = tmp_path_factory.mktemp("runs") / "wide"
    entry = CDCGAN(image_size=16, channels=1, width=8, latent_size=8, batch_size=8, classes=3)
    train(
        RunConfig(
            name="cdcgan",
            entry=entry,
            train=TrainConfig(data="glyphs:ABC", steps=20, device="cpu", precision="fp32", out=folder),
        )
    )
    return folder


@pytest.fixture(scope="module")
def small(runs, wide, tmp_path_factory):
    """Artifacts with everything that there is."""
    root = tmp_path_factory.mktemp("small")
    export(wide, root / "wide", ("fp16", "int8"))
    export(runs / "styles", root / "styles", ("fp16", "int8"))
    return root


@pytest.mark.parametrize("name", ["wide", "styles"])
def test_smaller_types_stand_beside_the_float_graphs(name, small):
    for graph in read_manifest(small / name).graphs.values():
        kinds = {(variant.provider, variant.precision): variant for variant in graph.variants}
        assert list(kinds) == [("any", "fp32"), ("cpu", "fp32"), ("cuda", "fp16"), ("cpu", "int8")]
        half, eighth = kinds["cuda", "fp16"], kinds["cpu", "int8"]
        assert half.loss.psnr >= 48
        assert half.loss.max_level_error <= 3
        assert eighth.loss.psnr >= 30
        assert eighth.loss.samples >= 16
    assert any("int8" in line for line in verify(small / name))


def test_too_few_images_to_measure_with_are_counted_before_anything_is_written(tmp_path):
    for domain in ("trainA", "trainB"):
        for index in range(3):
            (tmp_path / "few" / domain).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (index, 0, 9)).save(tmp_path / "few" / domain / f"{index}.png")
    train(small_config("cyclegan", tmp_path / "run", data=f"unpaired:{tmp_path / 'few'}"))
    with pytest.raises(ValueError, match=r"images of unpaired:few for .*; got \d$"):
        export(tmp_path / "run", tmp_path / "artifact", ("int8",))
    assert not (tmp_path / "artifact").exists()


def test_the_ends_keep_their_types_and_the_arithmetic_is_smaller(small):
    def types(file):
        model = onnx.load(small / "wide" / file)
        ends = [node.type.tensor_type.elem_type for node in (*model.graph.input, *model.graph.output)]
        return ends, {weight.data_type for weight in model.graph.initializer if weight.dims}

    ends, _ = types("generator.onnx")
    half, eighth = types("generator.cuda.fp16.onnx"), types("generator.cpu.int8.onnx")
    assert half[0] == eighth[0] == ends
    assert onnx.TensorProto.FLOAT16 in half[1]
    assert onnx.TensorProto.FLOAT not in half[1]
    assert onnx.TensorProto.INT8 in eighth[1]


def test_the_engine_runs_what_it_is_asked_for(small):
    engine, exact = Engine(small / "styles", "cpu", "int8"), Engine(small / "styles", "cpu")
    assert {variant.precision for variant in engine.variants.values()} == {"int8"}
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 24, 3), np.uint8)
    output, expected = (each.run("a2b", {"image": images}) for each in (engine, exact))
    assert 0 < np.abs(output.astype(int) - expected).max() < 128


def test_the_same_run_gives_the_same_bytes_in_every_precision(small, wide, tmp_path):
    export(wide, tmp_path / "wide", ("fp16", "int8"))
    for file in (small / "wide").iterdir():
        assert (tmp_path / "wide" / file.name).read_bytes() == file.read_bytes(), file.name


def test_int8_is_the_same_whatever_else_is_wanted(small, wide, tmp_path):
    export(wide, tmp_path / "wide", ("int8", "int8"))
    before = small / "wide" / "generator.cpu.int8.onnx"
    assert (tmp_path / "wide" / before.name).read_bytes() == before.read_bytes()


def test_half_precision_that_overflows_is_refused():
    class Large(nn.Module):
        def forward(self, latent):
            return (latent * 600 * 600 / 600 / 600).reshape(-1, 1, 2, 2)

    latents = {"latent": np.full((4, 4), 1.5, np.float32)}
    assert parity.in_torch(Large())(latents).dtype == np.uint8
    with pytest.raises(ParityError, match="must be finite"):
        parity.in_torch(Half(Large()))({"latent": latents["latent"]})


def test_too_few_images_are_refused(runs, tmp_path, monkeypatch):
    def few(*arguments):
        data = open_data(*arguments)
        monkeypatch.setattr(type(data), "size", 40)
        return data

    monkeypatch.setattr("training.artifacts.export.open_data", few)
    with pytest.raises(ValueError, match="got 40"):
        export(runs / "styles", tmp_path / "styles", ("int8",))


def test_a_faster_graph_that_rounds_too_much_is_left_out(runs, tmp_path, monkeypatch, caplog):
    measured = parity.measure

    def strict(floats, model, cases):
        proof = measured(floats, model, cases)
        if any(node.op_type == "Gemm" for node in model.graph.node):
            raise ParityError("it rounds")
        return proof

    monkeypatch.setattr(parity, "measure", strict)
    label = export(runs / "pictures", tmp_path / "pictures")
    assert [each.provider for each in label.graphs["generator"].variants] == ["any"]
    assert "it rounds" in caplog.text


def test_what_costs_too_much_is_refused_and_the_old_artifact_left_alone(runs, tmp_path, monkeypatch):
    export(runs / "pictures", tmp_path / "pictures")
    before = {path.name: path.read_bytes() for path in (tmp_path / "pictures").iterdir()}
    monkeypatch.setitem(golden.MIN_PSNR, "fp16", 99.0)
    with pytest.raises(ParityError, match=r"PSNR of fp16 .* at least 99 dB; got .* dB"):
        export(runs / "pictures", tmp_path / "pictures", ("fp16",))
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "pictures").iterdir()}


def test_points_stay_float(runs, tmp_path):
    with pytest.raises(ParityError, match="fp16 needs a graph with images"):
        export(runs / "points", tmp_path / "points", ("fp16",))


def test_what_has_no_convolutions_to_speak_of_stays_float(runs, tmp_path):
    with pytest.raises(ParityError, match="needs a graph with a convolution"):
        export(runs / "pictures", tmp_path / "pictures", ("int8",))


def test_a_smaller_type_has_scores_of_its_own(small, tmp_path):
    artifact = shutil.copytree(small / "styles", tmp_path / "styles")
    scores = [evaluate(artifact, "glyphs-style", n=20, precision=each).scores for each in ("fp32", "int8")]
    assert scores[0] != scores[1]
    assert [each.precision for each in read_manifest(artifact).metrics] == ["fp32", "int8"]
    assert ", in int8:" in (artifact / "README.md").read_text()


def test_a_precision_that_is_not_there_cannot_be_scored(artifacts):
    with pytest.raises(ValueError, match="no graph generator of int8"):
        evaluate(artifacts / "pictures", "glyphs", n=20, precision="int8")


@pytest.mark.gpu
def test_half_precision_on_cuda_is_near_the_cpu(small):
    for name in ("wide", "styles"):
        half, exact = Engine(small / name, "cuda", "fp16"), Engine(small / name, "cpu")
        for graph, specs in exact.manifest.graphs.items():
            inputs = (
                {"image": np.random.default_rng(0).integers(0, 256, (3, 16, 24, 3), np.uint8)}
                if "image" in specs.inputs
                else draw_inputs(specs.inputs, list(range(5)))
            )
            difference = half.run(graph, inputs).astype(np.int16) - exact.run(graph, inputs)
            assert golden.psnr(difference) > 40
