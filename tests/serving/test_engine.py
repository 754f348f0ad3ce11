import hashlib
import json
import shutil

import numpy as np
import onnxruntime as ort
import pytest
import torch

from serving import engine as engines
from serving import manifest
from serving.engine import Engine, draw_inputs, draw_latents
from serving.sessions import EngineError, choose_provider, open_session
from tests.conftest import flips


@pytest.fixture
def copy(artifacts, tmp_path):
    return shutil.copytree(artifacts / "pictures", tmp_path / "pictures")


def test_every_flipped_bit_is_found(copy):
    file = copy / "generator.onnx"
    whole = file.read_bytes()
    for flipped in flips(whole, 200):
        file.write_bytes(flipped)
        with pytest.raises(EngineError, match=r"generator\.onnx is damaged"):
            Engine(copy, "cpu")
    file.write_bytes(whole)
    Engine(copy, "cpu")


def test_without_the_digest_most_flipped_bits_would_be_run(copy):
    """The control: ONNX Runtime itself loads most of the damage."""
    whole = (copy / "generator.onnx").read_bytes()
    loaded = 0
    for flipped in flips(whole, 40):
        try:
            open_session(flipped, "cpu")
            loaded += 1
        except EngineError:
            pass
    assert loaded > 20


def test_a_missing_file_is_named(copy):
    (copy / "generator.onnx").unlink()
    with pytest.raises(EngineError, match=r"generator\.onnx can't be read"):
        Engine(copy, "cpu")


def test_a_label_that_lies_about_the_graph_is_refused(copy):
    label = json.loads((copy / manifest.FILE).read_text())
    label["graphs"]["generator"]["output"]["dtype"] = "float32"
    (copy / manifest.FILE).write_text(json.dumps(label))
    with pytest.raises(EngineError, match="its manifest says"):
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


def test_a_picture_is_the_same_alone_and_in_any_batch(artifacts):
    engine = Engine(artifacts / "pictures", "cpu")
    latents = draw_latents(8, list(range(64)))
    whole = engine.run("generator", {"latent": latents})
    for size in (1, 7, 33):
        parts = [engine.run("generator", {"latent": latents[i : i + size]}) for i in range(0, 64, size)]
        assert np.array_equal(np.concatenate(parts), whole)


def test_cuda_that_is_not_there_is_refused_and_auto_does_without(monkeypatch):
    monkeypatch.setattr(engines, "_cuda_missing", lambda: "there is no NVIDIA driver")
    assert choose_provider("auto") == choose_provider("cpu") == "cpu"
    with pytest.raises(EngineError, match="no NVIDIA driver"):
        choose_provider("cuda")
    monkeypatch.setattr(engines, "_cuda_missing", lambda: None)
    assert choose_provider("auto") == choose_provider("cuda") == "cuda"


def test_an_onnx_runtime_without_cuda_is_told_apart_from_a_machine_without(monkeypatch):
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(EngineError, match="built without it"):
        choose_provider("cuda")


def test_auto_does_without_a_cuda_that_is_there_and_cannot_be_used(artifacts, monkeypatch, caplog):
    monkeypatch.setattr(engines, "_cuda_missing", lambda: None)
    opened = engines.open_session

    def no_cuda(model, provider):
        if provider == "cuda":
            raise EngineError("the driver is too old")
        return opened(model, provider)

    monkeypatch.setattr(engines, "open_session", no_cuda)
    assert Engine(artifacts / "pictures", "auto").provider == "cpu"
    assert "the driver is too old" in caplog.text
    with pytest.raises(EngineError, match="too old"):
        Engine(artifacts / "pictures", "cuda")


def test_a_file_that_is_no_graph_is_refused(copy):
    (copy / "generator.onnx").write_bytes(b"no graph")
    label = json.loads((copy / manifest.FILE).read_text())
    label["graphs"]["generator"]["variants"][0]["sha256"] = hashlib.sha256(b"no graph").hexdigest()
    (copy / manifest.FILE).write_text(json.dumps(label))
    with pytest.raises(EngineError, match="can't run this graph"):
        Engine(copy, "cpu")


def test_cuda_that_fails_to_load_is_an_error_and_not_the_cpu(artifacts, monkeypatch):
    """Past the check of the driver, a session that would fall back to the CPU is refused."""
    monkeypatch.setattr(engines, "_cuda_missing", lambda: None)
    if torch.cuda.is_available():
        pytest.skip("there is an NVIDIA GPU")
    with pytest.raises(EngineError, match="CUDA"):
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
    image = manifest.Tensor(dtype="uint8", shape=["batch", 4, 4, 1], meaning="image")
    with pytest.raises(EngineError, match="image"):
        draw_inputs({"image": image}, [0])
