"""The Open Inference Protocol: its shapes and its refusals; with Triton's own client in `test_service.py`."""

import json

import numpy as np
import pytest

from serving.api.open_inference.tensors import HEADER_LENGTH
from serving.runtime.latents import draw_latents
from serving.runtime.load import load
from tests.serving.api.asking import app_of, asker

INFER = "/v2/models/pictures/infer"


@pytest.fixture(scope="module")
def ask(artifacts):
    from serving.settings import Settings

    return asker(app_of(Settings(artifacts=artifacts, provider="cpu", max_images=16, max_pixels=4096)))


def latent(rows: int = 2, **changes: object) -> dict:
    given = {"name": "latent", "shape": [rows, 8], "datatype": "FP32"}
    return given | {"data": draw_latents(8, list(range(rows))).ravel().tolist()} | changes


def test_the_server_and_its_models_say_what_they_are(ask):
    assert ask("GET", "/v2").json()["extensions"] == ["binary_tensor_data"]
    assert ask("GET", "/v2/health/live").json() == {"live": True}
    assert ask("GET", "/v2/health/ready").json() == {"ready": True}
    names = [model["name"] for model in ask("POST", "/v2/repository/index").json()]
    assert names == ["classes", "pairs", "pictures", "points", "styles.a2b", "styles.b2a"]
    said = ask("GET", "/v2/models/classes").json()
    assert said["inputs"] == [
        {"name": "latent", "datatype": "FP32", "shape": [-1, 8]},
        {"name": "label", "datatype": "INT64", "shape": [-1]},
    ]
    assert said["outputs"] == [{"name": "output", "datatype": "UINT8", "shape": [-1, 16, 16, 1]}]
    (version,) = said["versions"]
    assert ask("GET", f"/v2/models/classes/versions/{version}").json() == said
    assert ask("GET", f"/v2/models/classes/versions/{version}/ready").json()["ready"] is True
    image = {"name": "image", "datatype": "UINT8", "shape": [-1, -1, -1, 3]}
    assert ask("GET", "/v2/models/styles.b2a").json()["inputs"] == [image]


@pytest.mark.parametrize("nested", [False, True])
def test_json_in_json_out(ask, artifacts, nested):
    latents = draw_latents(8, [0, 1])
    data = latents.tolist() if nested else latents.ravel().tolist()
    answer = ask(
        "POST",
        INFER,
        json={"id": "a", "inputs": [latent(data=data, parameters=None)], "outputs": None, "unknown": 1},
    ).json()
    assert (answer["id"], answer["model_name"]) == ("a", "pictures")
    (output,) = answer["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("output", "UINT8", [2, 16, 16, 1])
    expected = load(artifacts / "pictures").sample(2, seed=0)
    assert np.array_equal(np.array(output["data"]).reshape(output["shape"]), expected)


def binary(ask, path: str, array: np.ndarray, name: str, kind: str, **parameters: object):
    given = {"name": name, "shape": array.shape, "datatype": kind}
    given["parameters"] = {"binary_data_size": array.nbytes}
    head = json.dumps({"inputs": [given], "parameters": parameters}).encode()
    return ask("POST", path, content=head + array.tobytes(), headers={HEADER_LENGTH: str(len(head))})


def test_binary_in_binary_out(ask, artifacts):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 24, 3), dtype=np.uint8)
    path = "/v2/models/styles.b2a/infer"
    answer = binary(ask, path, pixels, "image", "UINT8", binary_data_output=True)
    length = int(answer.headers[HEADER_LENGTH])
    head = json.loads(answer.content[:length])
    assert head["outputs"][0]["parameters"] == {"binary_data_size": pixels.size}
    output = np.frombuffer(answer.content[length:], np.uint8).reshape(pixels.shape)
    expected = load(artifacts / "styles").translate(pixels, "b2a")
    assert np.array_equal(output, expected)
    told = binary(ask, path, pixels, "image", "UINT8").json()
    assert told["outputs"][0]["data"] == expected.ravel().tolist()


WRONG = [
    ("inputs", []),
    ("inputs", [latent(name="other")]),
    ("inputs", [latent(), latent()]),
    ("inputs", [latent(rows=17)]),
    ("latent", [latent(datatype="FP64")]),
    ("latent", [latent(shape=[2, 9])]),
    ("latent", [latent(shape=[16])]),
    ("latent", [latent(shape=[0, 8], data=[])]),
    ("inputs", [latent(shape=[-2, 8])]),
    ("latent", [latent(shape=[3, 8])]),
    ("latent", [latent(data=None)]),
    ("latent", [latent(data=[None] * 16)]),
    ("latent", [latent(data=["1"] * 16)]),
    ("latent", [latent(data=[True] * 16)]),
    ("latent", [latent(data=[1e300] * 16)]),
    ("latent", [latent(data=[[0.0] * 4] * 4)]),
    ("latent", [latent(data=["x" * 4000] + [0] * 15)]),
    ("latent", [latent(data=[[[0.0]]] * 16)]),
    ("latent", [latent(data=[0.0] * 100_000)]),
    ("latent", [latent(shape=[])]),
    ("latent", [latent(shape=[2**31, 2**31])]),
    ("latent", [latent(parameters={"shared_memory_region": "x"})]),
    ("latent", [latent(data=[[0.0] * 8, [0.0] * 7])]),
    ("latent", [latent(data=None, parameters={"binary_data_size": 64})]),
    ("latent", [latent(parameters={"binary_data_size": 0})]),
    ("inputs", [latent(parameters=[])]),
]


@pytest.mark.parametrize(("field", "inputs"), WRONG, ids=range(len(WRONG)))
def test_wrong_tensors_are_refused(ask, field, inputs):
    answer = ask("POST", INFER, json={"inputs": inputs})
    assert answer.status_code == 400, answer.text
    assert isinstance(answer.json()["error"], str)
    assert answer.json()["code"] == "invalid_request"


def test_what_is_not_asked_right_is_refused(ask):
    asked = {"inputs": [latent()]}
    for status, path, options in [
        (404, "/v2/models/nope/infer", {"json": asked}),
        (404, "/v2/models/styles/infer", {"json": asked}),
        (404, "/v2/models/pictures/versions/0/infer", {"json": asked}),
        (400, INFER, {"json": asked | {"outputs": [{"name": "other"}]}}),
        (400, INFER, {"json": asked, "headers": {HEADER_LENGTH: "99999"}}),
        (400, INFER, {"json": asked, "headers": {HEADER_LENGTH: "-1"}}),
        (415, INFER, {"content": b"{}", "headers": {"content-type": "text/plain"}}),
        (405, "/v2", {"json": {}}),
    ]:
        answer = ask("POST", path, **options)
        assert answer.status_code == status, (path, answer.text)
        assert isinstance(answer.json()["error"], str)
    labels = {"name": "label", "shape": [2], "datatype": "INT64"}
    for data in ([0, 3], [-1, 0], [0.5, 1], [0]):
        inputs = [latent(), labels | {"data": data}]
        assert ask("POST", "/v2/models/classes/infer", json={"inputs": inputs}).status_code == 400
    good = ask("POST", "/v2/models/classes/infer", json={"inputs": [latent(), labels | {"data": [0, 2]}]})
    assert good.status_code == 200


def test_images_of_other_sides_than_a_graph_takes_are_refused(ask):
    path = "/v2/models/styles.a2b/infer"
    for size, status in [((16, 18), 400), ((4, 16), 400), ((512, 16), 413), ((16, 16), 200)]:
        pixels = np.zeros((1, *size, 3), np.uint8)
        assert binary(ask, path, pixels, "image", "UINT8").status_code == status
    trailing = np.zeros((2, 16, 16, 3), np.uint8)
    given = {"name": "image", "shape": [1, 16, 16, 3], "datatype": "UINT8"}
    given["parameters"] = {"binary_data_size": 768}
    head = json.dumps({"inputs": [given]}).encode()
    answer = ask("POST", path, content=head + trailing.tobytes(), headers={HEADER_LENGTH: str(len(head))})
    assert answer.status_code == 400
