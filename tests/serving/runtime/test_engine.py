import gc
import hashlib
import json
import shutil
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch
from PIL import Image

from serving.errors import EngineError, OutOfMemory
from serving.runtime import engine as engines
from serving.runtime import sessions
from serving.runtime.engine import Engine
from serving.runtime.latents import draw_inputs, draw_latents
from serving.runtime.manifest import MANIFEST_FILE
from serving.runtime.sessions import Options, open_session
from serving.runtime.tensor import Tensor
from tests.conftest import flips

FILE = "generator.cpu.fp32.onnx"
"""What the engine takes of the artifact on the CPU."""


@pytest.fixture
def copy(artifacts, tmp_path):
    return shutil.copytree(artifacts / "pictures", tmp_path / "pictures")


def test_every_flipped_bit_is_found(copy):
    file = copy / FILE
    whole = file.read_bytes()
    for flipped in flips(whole, 200):
        file.write_bytes(flipped)
        with pytest.raises(EngineError, match=r"generator\.cpu\.fp32\.onnx is damaged"):
            Engine(copy, "cpu")
    file.write_bytes(whole)
    Engine(copy, "cpu")


def test_without_the_digest_most_flipped_bits_would_be_run(copy):
    """The control: ONNX Runtime itself loads most of the damage."""
    whole = (copy / FILE).read_bytes()
    loaded = 0
    for flipped in flips(whole, 40):
        try:
            open_session(flipped, "cpu")
            loaded += 1
        except EngineError:
            pass
    assert loaded > 20


def test_a_missing_file_is_named(copy):
    (copy / FILE).unlink()
    with pytest.raises(EngineError, match=r"generator\.cpu\.fp32\.onnx can't be read"):
        Engine(copy, "cpu")


def test_a_label_that_lies_about_the_graph_is_refused(copy):
    label = json.loads((copy / MANIFEST_FILE).read_text())
    label["graphs"]["generator"]["output"]["shape"] = ["batch", 16, 16, 3]
    (copy / MANIFEST_FILE).write_text(json.dumps(label))
    with pytest.raises(EngineError, match=r"as in manifest\.json; got"):
        Engine(copy, "cpu")


def test_a_seed_is_philox_keyed_by_it():
    latents = draw_latents(5, [0, 7, 2**53 - 1])
    assert latents.dtype == np.float32
    for row, seed in zip(latents, [0, 7, 2**53 - 1], strict=True):
        by_hand = np.random.Generator(np.random.Philox(key=seed)).standard_normal(5, dtype=np.float32)
        assert np.array_equal(row, by_hand)
    many = draw_latents(1000, list(range(100)))
    assert abs(many.mean()) < 0.02
    assert abs(many.std() - 1) < 0.02


def test_auto_does_without_a_cuda_that_is_there_and_cannot_be_used(artifacts, monkeypatch, caplog):
    monkeypatch.setattr(sessions, "_cuda_missing", lambda: None)
    opened = engines.open_session

    def no_cuda(model, provider, options):
        if provider == "cuda":
            raise EngineError("the driver is too old")
        return opened(model, provider, options)

    monkeypatch.setattr(engines, "open_session", no_cuda)
    assert Engine(artifacts / "pictures", "auto").provider == "cpu"
    assert "the driver is too old" in caplog.text
    with pytest.raises(EngineError, match="too old"):
        Engine(artifacts / "pictures", "cuda")


def test_a_file_that_is_no_graph_is_refused(copy):
    (copy / FILE).write_bytes(b"no graph")
    label = json.loads((copy / MANIFEST_FILE).read_text())
    label["graphs"]["generator"]["variants"][1]["sha256"] = hashlib.sha256(b"no graph").hexdigest()
    (copy / MANIFEST_FILE).write_text(json.dumps(label))
    with pytest.raises(EngineError, match="must be an ONNX file"):
        Engine(copy, "cpu")


def test_cuda_that_fails_to_load_is_an_error_and_not_the_cpu(artifacts, monkeypatch):
    """Past the check of the driver, a session that would fall back to the CPU is refused."""
    monkeypatch.setattr(sessions, "_cuda_missing", lambda: None)
    if torch.cuda.is_available():
        pytest.skip("there is an NVIDIA GPU")
    with pytest.raises(EngineError, match="the provider cuda"):
        Engine(artifacts / "pictures", "cuda")


def test_uniform_latents_are_philoxs_numbers_stretched():
    (row,) = draw_latents(5, [42], "uniform")
    numbers = np.random.Generator(np.random.Philox(key=42)).random(5, dtype=np.float32)
    assert np.allclose(row, (numbers - 0.5) * 12**0.5)
    many = draw_latents(1000, [0, 1], "uniform")
    assert many.dtype == np.float32
    assert np.abs(many).max() <= 3**0.5
    assert many.var() == pytest.approx(1, abs=0.05)


def test_only_latents_and_labels_can_be_drawn():
    image = Tensor(dtype="uint8", shape=["batch", 4, 4, 1], meaning="image")
    with pytest.raises(EngineError, match="image"):
        draw_inputs({"image": image}, [0])


def test_the_variant_for_the_provider_is_run_and_gives_what_the_canonical_graph_gives(artifacts, tmp_path):
    artifact = shutil.copytree(artifacts / "pictures", tmp_path / "pictures")
    engine = Engine(artifact, "cpu")
    assert [variant.file for variant in engine.variants.values()] == [FILE]
    assert engine.manifest.graphs["generator"].variant_for("cuda", "fp32").file == "generator.onnx"
    latents = {"latent": draw_latents(8, list(range(64)))}
    canonical = open_session((artifact / "generator.onnx").read_bytes(), "cpu").run(None, latents)[0]
    assert np.abs(engine.run("generator", latents).astype(int) - canonical).max() <= 1
    (artifact / "generator.onnx").unlink()
    Engine(artifact, "cpu")  # what is not for this provider is not read


class Starved:
    """A session whose provider has no memory."""

    def __init__(self, said: str = "BFCArena: Failed to allocate memory for requested buffer") -> None:
        self.said = said

    def run(self, outputs, inputs):
        raise RuntimeError(self.said)


@pytest.mark.parametrize(
    "said", ["CUDA failure 2: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "std::bad_alloc"]
)
def test_without_memory_a_session_is_opened_anew_once(said, artifacts):
    engine = Engine(artifacts / "pictures", "cpu")
    inputs = {"latent": draw_latents(8, [1])}
    expected = engine.run("generator", inputs)
    starved = Starved(said)
    alive = weakref.ref(starved)
    engine.sessions["generator"] = starved
    del starved
    with pytest.raises(OutOfMemory):
        engine.run("generator", inputs)
    gc.collect()
    assert alive() is None, "what the old session held is free"
    assert not engine.is_starved
    assert np.array_equal(engine.run("generator", inputs), expected)


def test_a_new_session_without_memory_too_is_the_end_of_it(artifacts, monkeypatch):
    engine = Engine(artifacts / "pictures", "cpu")
    session, inputs = engine.sessions["generator"], {"latent": draw_latents(8, [1])}
    monkeypatch.setattr("serving.runtime.engine.open_session", lambda *_: Starved())
    engine.sessions["generator"] = Starved()
    for starved in (False, True, True):
        with pytest.raises(OutOfMemory):
            engine.run("generator", inputs)
        assert engine.is_starved == starved
    engine.sessions["generator"] = session
    engine.run("generator", inputs)
    assert not engine.is_starved, "what runs again is well again"


def test_a_session_that_can_not_be_opened_anew_is_said_to_be_starved(artifacts, tmp_path):
    shutil.copytree(artifacts / "pictures", tmp_path / "pictures")
    engine = Engine(tmp_path / "pictures", "cpu")
    shutil.rmtree(tmp_path / "pictures")
    engine.sessions["generator"] = Starved()
    for _ in range(2):
        with pytest.raises(OutOfMemory):
            engine.run("generator", {"latent": draw_latents(8, [1])})
        assert engine.is_starved


def test_a_graph_without_memory_does_not_speak_for_another(artifacts):
    engine = Engine(artifacts / "styles", "cpu")
    image = {"image": np.zeros((1, 16, 16, 3), np.uint8)}
    for graph in ("a2b", "b2a"):
        engine.sessions[graph] = Starved()
        with pytest.raises(OutOfMemory):
            engine.run(graph, image)
    assert not engine.is_starved, "each had its session opened anew"
    for graph in ("a2b", "b2a"):
        engine.run(graph, image)


def test_the_message_says_what_is_wanted_and_what_there_is(artifacts, monkeypatch):
    monkeypatch.setattr("serving.runtime.engine.available", lambda: 900 * 2**20)
    engine = Engine(artifacts / "styles", "cpu")
    for said, facts in (
        (
            "Failed to allocate memory for requested buffer of size 536870912",
            "one buffer alone needs 512 MiB and ",
        ),
        ("std::bad_alloc", ""),
    ):
        engine.sessions["a2b"] = Starved(said)
        with pytest.raises(MemoryError) as error:
            engine.run("a2b", {"image": np.zeros((2, 16, 32, 3), np.uint8)})
        assert str(error.value) == (
            f"not enough memory for 2 images of 32x16 pixels in the graph a2b; {facts}"
            "900 MiB are available for all; use smaller images or a smaller batch"
        )


@pytest.mark.skipif(sys.platform != "linux", reason="the address space is limited as on Linux")
def test_a_real_limit_is_told_in_one_line(artifacts, tmp_path):
    Image.new("RGB", (4096, 4096)).save(tmp_path / "large.png")
    place = [str(artifacts / "styles"), str(tmp_path / "large.png"), str(tmp_path / "out.png")]
    command = [sys.executable, "-m", "serving", "translate", *place, "--tile", "4096"]
    limited = ["bash", "-c", 'ulimit -v 1000000; exec "$@"', "-", *command]
    done = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert said.startswith("ganzoo: not enough memory for 1 image of 4096x4096 pixels in the graph a2b; ")
    assert "MiB are available" in said
    assert said.endswith("; use smaller tiles")


def test_other_failures_are_no_lack_of_memory(artifacts):
    engine = Engine(artifacts / "pictures", "cpu")
    engine.sessions["generator"] = Starved("an input has another shape")
    with pytest.raises(RuntimeError, match="shape"):
        engine.run("generator", {"latent": draw_latents(8, [1])})
    assert isinstance(engine.sessions["generator"], Starved)


def test_a_precision_that_is_not_there_is_fp32(artifacts):
    assert Engine(artifacts / "pictures", "cpu", "int8").variants["generator"].precision == "fp32"


@pytest.mark.parametrize("rows", [1, 3, 4, 9, 17])
def test_batches_are_filled_up_to_buckets_and_cut_back(rows, artifacts, monkeypatch):
    engine = Engine(artifacts / "pictures", "cpu", options=Options(buckets=(2, 4, 16)))
    latents = draw_latents(8, list(range(rows)))
    expected = engine.sessions["generator"].run(None, {"latent": latents})[0]
    seen = []

    class Seen:
        def __init__(self, session):
            self.session = session

        def run(self, outputs, inputs):
            seen.append(len(inputs["latent"]))
            return self.session.run(outputs, inputs)

    monkeypatch.setitem(engine.sessions, "generator", Seen(engine.sessions["generator"]))
    assert np.array_equal(engine.run("generator", {"latent": latents}), expected)
    assert seen == [{1: 2, 3: 4, 4: 4, 9: 16, 17: 17}[rows]]


@pytest.mark.parametrize("name", ["pictures", "classes", "styles", "pairs"])
def test_a_picture_is_the_same_alone_and_in_any_batch(name, artifacts):
    """Equal bytes, in batches of 1, 7 and 64, with one thread and with several."""
    for threads in (1, 2):
        engine = Engine(artifacts / name, "cpu", options=Options(threads=threads))
        for graph, spec in engine.manifest.graphs.items():
            inputs = many(spec.inputs)
            whole = engine.run(graph, inputs)
            for size in (1, 7):
                part = engine.run(graph, {key: value[:size] for key, value in inputs.items()})
                assert np.array_equal(part, whole[:size])


def many(specs):
    if "image" in specs:
        _, least = specs["image"].grid
        return {"image": np.random.default_rng(0).integers(0, 256, (64, least, 2 * least, 3), np.uint8)}
    return draw_inputs(specs, list(range(64)))


@pytest.mark.parametrize(("side", "parts"), [(16, [7]), (128, [4, 3]), (256, [1] * 7), (512, [1] * 7)])
def test_large_images_are_translated_a_few_at_once(side, parts, artifacts, monkeypatch):
    engine = Engine(artifacts / "styles", "cpu")
    seen = []

    class Double:
        def run(self, outputs, inputs):
            seen.append(len(inputs["image"]))
            return [255 - inputs["image"]]

    monkeypatch.setitem(engine.sessions, "a2b", Double())
    images = np.random.default_rng(0).integers(0, 256, (7, side, side, 3), np.uint8)
    assert np.array_equal(engine.run("a2b", {"image": images}), 255 - images)
    assert seen == parts
    monkeypatch.setitem(engine._pixels, "a2b", 2**18)  # as of a graph of 128 MB
    seen.clear()
    assert np.array_equal(engine.run("a2b", {"image": images}), 255 - images)
    assert len(seen) == -(-7 // max(1, 2**18 // side**2))


def test_other_graphs_need_other_sessions(artifacts):
    engine = Engine(artifacts / "styles")
    graphs = engine.manifest.graphs
    first = next(iter(graphs))
    assert engine.with_manifest(engine.manifest) is not None, "the control"
    for other in ({first: graphs[first]}, graphs | {"c2d": graphs[first]}):
        assert engine.with_manifest(engine.manifest.model_copy(update={"graphs": other})) is None


def test_an_engine_with_another_manifest_counts_its_failures_alone(artifacts):
    engine = Engine(artifacts / "pictures")
    other = engine.with_manifest(engine.manifest)
    other._starved["generator"] = 2
    assert (engine.is_starved, other.is_starved) == (False, True)
