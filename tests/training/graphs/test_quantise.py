"""Bytes in place of floats: as many convolutions as the bound allows, the same bytes each time."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from serving.runtime import golden
from serving.runtime.golden import ParityError, psnr
from serving.runtime.sessions import open_session
from training.graphs.parity import in_runtime, measure_loss
from training.graphs.quantise import quantise


def numbers(*shape: int, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(0, scale, shape).astype(np.float32)


def translator(first: float = 0.1) -> onnx.ModelProto:
    """From uint8 images to uint8 images through two mirrored convolutions."""
    constants = {
        "to_float": np.array(1 / 255, np.float32),
        "w1": numbers(16, 3, 3, 3, scale=first),
        "b1": numbers(16),
        "w2": numbers(16, 16, 3, 3, scale=0.1),
        "sizes": np.array((0, 0, 1, 1, 0, 0, 1, 1)),
        "w3": numbers(3, 16, 1, 1, scale=0.2),
        "levels": np.array(127.5, np.float32),
        "low": np.array(0, np.float32),
        "high": np.array(255, np.float32),
    }
    nodes = [
        helper.make_node("Transpose", ["image"], ["nchw"], perm=(0, 3, 1, 2)),
        helper.make_node("Cast", ["nchw"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["cast", "to_float"], ["x"]),
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=(1, 1, 1, 1)),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Pad", ["r1", "sizes"], ["p1"], mode="reflect"),
        helper.make_node("Conv", ["p1", "w2"], ["c2"]),
        helper.make_node("Tanh", ["c2"], ["t2"]),
        helper.make_node("Conv", ["t2", "w3"], ["c3"]),
        helper.make_node("Tanh", ["c3"], ["t3"]),
        helper.make_node("Mul", ["t3", "levels"], ["m"]),
        helper.make_node("Add", ["m", "levels"], ["a"]),
        helper.make_node("Clip", ["a", "low", "high"], ["clipped"]),
        helper.make_node("Cast", ["clipped"], ["u8"], to=TensorProto.UINT8),
        helper.make_node("Transpose", ["u8"], ["output"], perm=(0, 2, 3, 1)),
    ]
    shape = ["batch", "height", "width", 3]
    graph = helper.make_graph(
        nodes,
        "translator",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("output", TensorProto.UINT8, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def examples(seed: int, count: int = 4) -> list[dict[str, np.ndarray]]:
    draws = np.random.default_rng(seed)
    return [{"image": draws.integers(0, 256, (2, 20, 24, 3), np.uint8)} for _ in range(count)]


def byte_products(model: onnx.ModelProto) -> int:
    makers = {node.output[0]: node.op_type for node in model.graph.node}
    return sum(
        node.op_type == "Conv" and makers.get(node.input[1]) == "DequantizeLinear"
        for node in model.graph.node
    )


def test_every_convolution_multiplies_bytes_and_the_picture_is_near():
    model = translator()
    small = quantise(model, examples(0))
    onnx.checker.check_model(small, full_check=True)
    assert byte_products(small) == 3
    loss = measure_loss(model, in_runtime(small), "int8", examples(1))
    assert loss.psnr > 30
    assert loss.max_level_error > 0, "a control: bytes are not floats"


def test_mirrored_borders_are_made_of_bytes():
    small = quantise(translator(), examples(0))
    makers = {node.output[0]: node.op_type for node in small.graph.node}
    (pad,) = (node for node in small.graph.node if node.op_type == "Pad")
    assert makers[pad.input[0]] == "QuantizeLinear"


def test_onnx_runtime_runs_them_as_such(tmp_path):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(
        quantise(translator(), examples(0)).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert kinds.count("QLinearConv") == 3
    assert "Conv" not in kinds


def test_the_first_convolutions_stay_float_where_the_bound_wants_it(monkeypatch):
    model = translator(first=3.0)
    everything = quantise(model, examples(0))
    monkeypatch.setitem(
        golden.MIN_PSNR, "int8", 1 + measure_loss(model, in_runtime(everything), "int8", examples(0)).psnr
    )
    fewer = quantise(model, examples(0))
    assert byte_products(fewer) < byte_products(everything) == 3


def test_what_no_choice_reaches_is_refused(monkeypatch):
    monkeypatch.setitem(golden.MIN_PSNR, "int8", 99.5)
    with pytest.raises(ParityError, match=r"must reach a PSNR of 100\.0 dB; got .* dB"):
        quantise(translator(), examples(0))


def test_the_same_examples_give_the_same_bytes():
    first, second = (quantise(translator(), examples(0)).SerializeToString(deterministic=True) for _ in "ab")
    assert first == second
    assert quantise(translator(), examples(5)).SerializeToString(deterministic=True) != first


def test_a_picture_does_not_depend_on_its_batch():
    session = open_session(quantise(translator(), examples(0)).SerializeToString(), "cpu")
    image = np.concatenate([each["image"] for each in examples(2, 32)])
    whole = session.run(None, {"image": image})[0]
    for size in (1, 7):
        assert np.array_equal(session.run(None, {"image": image[:size]})[0], whole[:size])


def test_psnr_is_that_of_a_known_difference():
    assert psnr(np.zeros((2, 2))) == 100
    assert psnr(np.full((2, 2), 255)) == pytest.approx(0)
    assert psnr(np.ones((2, 2))) == pytest.approx(48.13, abs=0.01)
