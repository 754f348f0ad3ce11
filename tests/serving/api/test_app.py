"""The HTTP contract in process: real models behind the real routes, no socket."""

import asyncio
import base64
import io
import json
import time

import httpx
import numpy as np
import pytest
from PIL import Image

from serving.api.app import ERROR_BODIES, router
from serving.api.formats import Result, encode
from serving.api.schemas import Ready
from serving.errors import APIError, EngineError
from serving.metrics import count_request
from serving.middleware.request import RequestMiddleware
from serving.repository.repository import ModelRepository, artifact_folders
from serving.runtime.latents import MAX_SEED, draw_latents
from serving.runtime.pipeline import open_pipeline
from serving.settings import Settings

SAMPLE = "/v1/models/pictures/sample"


def app_of(settings: Settings) -> RequestMiddleware:
    """The whole contract behind its guard."""
    return RequestMiddleware(router(repository_of(settings)), ERROR_BODIES)


def repository_of(settings: Settings) -> ModelRepository:
    repository = ModelRepository(settings)
    repository.load()
    return repository


def asker(app: RequestMiddleware):
    """A function that asks an app, without a socket."""
    transport = httpx.ASGITransport(app=app)

    def ask(method: str, path: str, **options) -> httpx.Response:
        async def go() -> httpx.Response:
            async with httpx.AsyncClient(transport=transport, base_url="http://zoo") as client:
                return await client.request(method, path, **options)

        return asyncio.run(go())

    return ask


@pytest.fixture(scope="module")
def ask(artifacts):
    settings = Settings(
        artifacts=artifacts,
        provider="cpu",
        max_images=16,
        max_body=20_000,
        max_upload=20_000,
        max_pixels=4096,
    )
    return asker(app_of(settings))


def array(response: httpx.Response) -> np.ndarray:
    assert response.status_code == 200, response.text
    return np.load(io.BytesIO(response.content), allow_pickle=False)


def test_every_model_is_described(ask):
    models = ask("GET", "/v1/models").json()["models"]
    assert [model["name"] for model in models] == ["classes", "pairs", "pictures", "points", "styles"]
    pictures = models[2]
    assert pictures["task"] == "sample"
    assert pictures["provider"] == "cpu"
    assert pictures["files"] == {"generator": "generator.cpu.fp32.onnx"}
    assert pictures["graphs"]["generator"]["inputs"]["latent"]["shape"] == ["batch", 8]
    assert pictures["graphs"]["generator"]["output"]["shape"] == ["batch", 16, 16, 1]
    label = ask("GET", "/v1/models/pictures").json()
    assert label["entry"] == "dcgan"


def test_health_names_the_provider(ask):
    assert ask("GET", "/livez").json() == {"status": "alive"}
    names = ["classes", "pairs", "pictures", "points", "styles"]
    assert ask("GET", "/readyz").json()["models"] == dict.fromkeys(names, "cpu")


def test_a_seed_names_a_picture_in_every_format(ask):
    body = {"n": 5, "seed": 40}
    pixels = array(ask("POST", SAMPLE, json=body | {"format": "npy"}))
    assert pixels.shape == (5, 16, 16, 1)
    alone = array(ask("POST", SAMPLE, json={"seed": 43, "format": "npy"}))
    assert np.array_equal(pixels[3], alone[0])

    png = ask("POST", SAMPLE, json={"seed": 43})
    assert png.headers["content-type"] == "image/png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png.content))), alone[0, :, :, 0])

    content = ask("POST", SAMPLE, json=body | {"format": "json"}).json()
    assert content["seeds"] == [40, 41, 42, 43, 44]
    fourth = Image.open(io.BytesIO(base64.b64decode(content["images"][3])))
    assert np.array_equal(np.asarray(fourth), alone[0, :, :, 0])

    sheet = ask("POST", SAMPLE, json=body)
    assert Image.open(io.BytesIO(sheet.content)).size == (3 * 18 + 2, 2 * 18 + 2)
    assert sheet.headers["x-seed"] == "40"
    assert sheet.headers["x-model-version"] == content["version"]
    assert "engine;dur=" in sheet.headers["server-timing"]


def test_a_client_can_draw_the_latents_itself(ask):
    latents = draw_latents(8, [3, 4]).tolist()
    by_latents = array(ask("POST", SAMPLE, json={"latents": latents, "format": "npy"}))
    by_seed = array(ask("POST", SAMPLE, json={"n": 2, "seed": 3, "format": "npy"}))
    assert np.array_equal(by_latents, by_seed)
    assert "x-seed" not in ask("POST", SAMPLE, json={"latents": latents}).headers


def test_a_missing_seed_is_drawn_and_told(ask):
    answers = [ask("POST", SAMPLE, json={"format": "npy"}) for _ in range(2)]
    seeds = [int(answer.headers["x-seed"]) for answer in answers]
    assert seeds[0] != seeds[1]
    again = ask("POST", SAMPLE, json={"seed": seeds[0], "format": "npy"})
    assert np.array_equal(array(again), array(answers[0]))
    assert ask("POST", SAMPLE, json={"n": 2, "format": "json"}).json()["seeds"][1] <= MAX_SEED


def test_a_conditional_model_draws_the_class_that_is_asked_for(ask):
    """By name, by number, or in turns; each is another picture of the same seed."""
    path = "/v1/models/classes/sample"
    (model,) = (m for m in ask("GET", "/v1/models").json()["models"] if m["name"] == "classes")
    assert model["labels"] == ["A", "B", "C"]
    assert model["graphs"]["generator"]["inputs"]["label"]["range"] == [0, 2]

    def drawn(**body: object) -> np.ndarray:
        return array(ask("POST", path, json={"format": "npy", "seed": 7, **body}))

    by_name = [drawn(label=label) for label in "ABC"]
    assert all(np.array_equal(a, drawn(label=number)) for number, a in enumerate(by_name))
    assert not np.array_equal(by_name[0], by_name[1])
    turns = drawn(n=6, seed=6)
    assert np.array_equal(turns[1], by_name[1][0]), "seed 7 is of class 7 % 3"
    latent = draw_latents(8, [7]).tolist()
    given = ask("POST", path, json={"format": "npy", "latents": latent, "label": "C"})
    assert np.array_equal(array(given), by_name[2])

    with Image.open(io.BytesIO(ask("POST", path, json={"n": 6, "seed": 0}).content)) as sheet:
        assert sheet.size == (3 * 18 + 2, 2 * 18 + 2), "a column a class"


@pytest.mark.parametrize("label", ["D", "", 3, -1, 1.5, True, ["A"], "A" * 101, "0"])
def test_other_labels_are_refused(ask, label):
    answer = ask("POST", "/v1/models/classes/sample", json={"label": label})
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == "label"


def test_a_label_for_a_model_without_classes_is_refused(ask):
    answer = ask("POST", SAMPLE, json={"label": 0})
    assert answer.status_code == 400
    assert "no classes" in answer.json()["error"]["message"]


def test_vectors_are_numbers_and_a_plot(ask):
    path = "/v1/models/points/sample"
    vectors = ask("POST", path, json={"n": 3, "seed": 1, "format": "json"}).json()["vectors"]
    assert np.allclose(vectors, array(ask("POST", path, json={"n": 3, "seed": 1, "format": "npy"})))
    plot = ask("POST", path, json={"n": 16, "seed": 1})
    assert Image.open(io.BytesIO(plot.content)).size == (256, 256)


def test_concurrent_requests_meet_in_batches_and_keep_their_pictures(artifacts):
    settings = Settings(artifacts=artifacts, provider="cpu")
    repository = repository_of(settings)
    models = repository.models
    run, sizes = models["pictures"].engine.run, []

    def slow(inputs):
        sizes.append(len(inputs["latent"]))
        time.sleep(0.02)
        return run("generator", inputs)

    models["pictures"].batchers["generator"]._run = slow
    transport = httpx.ASGITransport(app=RequestMiddleware(router(repository), ERROR_BODIES))

    async def go():
        async with httpx.AsyncClient(transport=transport, base_url="http://zoo") as client:
            posts = (client.post(SAMPLE, json={"seed": i % 8, "format": "npy"}) for i in range(64))
            return await asyncio.gather(*posts)

    pictures = [array(answer).tobytes() for answer in asyncio.run(go())]
    assert len(set(pictures)) == 8
    assert all(picture == pictures[i % 8] for i, picture in enumerate(pictures))
    assert sum(sizes) == 64
    assert len(sizes) < 40, "requests met in batches"


REFUSED = [
    (400, "n", {"n": 0}),
    (400, "n", {"n": -1}),
    (400, "n", {"n": 17}),
    (400, "n", {"n": 10**40}),
    (400, "n", {"n": 1.5}),
    (400, "n", {"n": "3"}),
    (400, "n", {"n": True}),
    (400, "seed", {"seed": -1}),
    (400, "seed", {"seed": MAX_SEED + 1}),
    (400, "seed", {"seed": MAX_SEED, "n": 2}),
    (400, "format", {"format": "bmp"}),
    (400, "colour", {"colour": "red"}),
    (400, "latents", {"latents": []}),
    (400, "latents", {"latents": [[]]}),
    (400, "latents", {"latents": [[0.0] * 7]}),
    (400, "latents", {"latents": [[0.0] * 8, [0.0] * 7]}),
    (400, "latents", {"latents": [[None] * 8]}),
    (400, "latents", {"latents": [[1e300] * 8]}),
    (400, "latents", {"latents": [0.0] * 8}),
    (400, "latents", {"latents": [[0.0] * 8], "seed": 1}),
    (400, "n", {"latents": [[0.0] * 8], "n": 2}),
    (400, "n", {"latents": [[0.0] * 8] * 17}),
    (400, None, []),
    (400, None, None),
    (400, None, "text"),
]


def refused(response: httpx.Response, status: int) -> dict:
    assert response.status_code == status, response.text
    content = response.json()
    assert set(content) == {"error", "request_id"}
    assert {"code", "message"} <= set(content["error"]) <= {"code", "message", "field"}
    assert content["request_id"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text
    assert ".py" not in response.text
    return content["error"]


@pytest.mark.parametrize(("status", "field", "body"), REFUSED)
def test_bad_values_are_refused_with_the_field(ask, status, field, body):
    error = refused(
        ask("POST", SAMPLE, content=json.dumps(body), headers={"content-type": "application/json"}), status
    )
    assert error.get("field") == field


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"n": NaN}',
        b'{"seed": Infinity}',
        b"[" * 9000,
        b'{"n": 1} {"n": 2}',
        b'{"latents": [[NaN,0,0,0,0,0,0,0]]}',
    ],
)
def test_bad_json_is_refused(ask, body):
    refused(ask("POST", SAMPLE, content=body, headers={"content-type": "application/json"}), 400)


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/octet-stream",
        "application/vnd.bentoml+pickle",
        "x/\u00e9",
    ],
)
def test_other_types_are_refused(ask, kind):
    headers = {} if kind is None else {"content-type": kind.encode()}
    assert (
        refused(ask("POST", SAMPLE, content=b'{"n": 1}', headers=headers), 415)["code"] == "unsupported_type"
    )


def test_a_type_may_name_its_charset(ask):
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert ask("POST", SAMPLE, content=b'{"n": 1}', headers=headers).status_code == 200


def test_a_body_over_the_limit_is_refused_declared_or_not(ask):
    body = b'{"n": 1}' + b" " * 20_000
    headers = {"content-type": "application/json"}
    assert refused(ask("POST", SAMPLE, content=body, headers=headers), 413)["code"] == "body_too_large"
    lying = headers | {"content-length": "8"}
    refused(ask("POST", SAMPLE, content=body, headers=lying), 413)

    async def chunks():
        for _ in range(30):
            yield b" " * 1000

    refused(ask("POST", SAMPLE, content=chunks(), headers=headers), 413)


@pytest.mark.parametrize(
    "name", ["nope", "..", "%2e%2e", "../pictures", "pictures%00", "%2e%2e%2fpictures", "pictures%0aforged"]
)
def test_unknown_models_are_looked_up_and_not_opened(ask, name):
    error = refused(ask("POST", f"/v1/models/{name}/sample", json={}), 404)
    assert error["code"] in ("unknown_model", "not_found")


def test_an_unknown_model_is_told_which_there_are(ask):
    assert "pictures, points, styles" in refused(ask("GET", "/v1/models/nope"), 404)["message"]


TRANSLATE = "/v1/models/styles/translate"


def png(pixels: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", **options)
    return out.getvalue()


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng([height, width]).integers(0, 256, (height, width, channels), dtype=np.uint8)


def test_an_image_is_translated_raw_or_in_a_form_in_every_format(ask, artifacts):
    pixels = noise(21, 34)
    graphs = open_pipeline(artifacts / "styles")
    body, raw = png(pixels), {"content-type": "image/png"}
    for direction in ("a2b", "b2a"):
        expected = graphs.translate(direction, pixels[None])
        assert expected.shape == (1, 21, 34, 3)
        query = {"direction": direction, "format": "npy"}
        assert np.array_equal(
            array(ask("POST", TRANSLATE, params=query, content=body, headers=raw)), expected
        )
        form = ask("POST", TRANSLATE, data=query, files={"image": ("any.name", body, "any/type")})
        assert np.array_equal(array(form), expected)
        assert form.headers["x-direction"] == direction

        picture = ask("POST", TRANSLATE, data={"direction": direction}, files={"image": body})
        assert picture.headers["content-type"] == "image/png"
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(picture.content))), expected[0])
        told = ask("POST", TRANSLATE, data=query | {"format": "json"}, files={"image": body}).json()
        assert told["direction"] == direction
        (only,) = told["images"]
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(only)))), expected[0])
    by_default = ask("POST", TRANSLATE, content=body, headers=raw)
    assert by_default.headers["x-direction"] == "a2b"
    one_way = ask("POST", "/v1/models/pairs/translate", content=body, headers=raw)
    assert Image.open(io.BytesIO(one_way.content)).size == (34, 21)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (7, 9), (8, 8), (33, 16), (64, 31)])
def test_any_size_comes_back_in_its_own(ask, size):
    answer = ask("POST", TRANSLATE, params={"format": "npy"}, files={"image": png(noise(*size))})
    assert array(answer).shape == (1, *size, 3)


def test_a_photograph_on_its_side_comes_back_upright(ask):
    """Orientation 6: to be turned a quarter clockwise; the answer is turned, and says nothing of it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = noise(20, 30)
    answer = ask("POST", TRANSLATE, files={"image": png(pixels, exif=exif)})
    with Image.open(io.BytesIO(answer.content)) as upright:
        assert upright.size == (20, 30)
        assert 0x0112 not in upright.getexif()
    turned = ask("POST", TRANSLATE, files={"image": png(np.rot90(pixels, -1))})
    assert turned.content == answer.content


def test_a_photograph_of_a_thousand_by_667_comes_back_667_by_a_thousand(artifacts):
    """Within the default limits."""
    settings = Settings(artifacts=artifacts, provider="cpu")
    transport = httpx.ASGITransport(app=app_of(settings))
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    photograph = Image.fromarray(noise(67, 100)).resize((1000, 667), Image.Resampling.BICUBIC)
    photograph.save(out, "JPEG", exif=exif)

    async def go():
        async with httpx.AsyncClient(transport=transport, base_url="http://zoo") as client:
            return await client.post(TRANSLATE, files={"image": ("it.jpg", out.getvalue(), "image/jpeg")})

    with Image.open(io.BytesIO(asyncio.run(go()).content)) as translated:
        assert (translated.format, translated.size) == ("PNG", (667, 1000))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "I;16", "CMYK"])
def test_every_kind_of_image_is_one_to_translate(ask, mode):
    out = io.BytesIO()
    if mode == "I;16":
        Image.fromarray(np.arange(200, dtype=np.uint16).reshape(10, 20) * 300).save(out, "PNG")
    else:
        Image.fromarray(noise(10, 20)).convert(mode).save(out, "JPEG" if mode == "CMYK" else "PNG")
    assert array(ask("POST", TRANSLATE, params={"format": "npy"}, files={"image": out.getvalue()})).any()


def test_images_of_one_size_meet_in_batches_and_keep_their_own(artifacts):
    settings = Settings(artifacts=artifacts, provider="cpu")
    repository = repository_of(settings)
    batcher = repository.models["styles"].batchers["a2b"]
    run, shapes = batcher._run, []
    batcher._run = lambda inputs: shapes.append(inputs["image"].shape) or run(inputs)
    transport = httpx.ASGITransport(app=RequestMiddleware(router(repository), ERROR_BODIES))
    given = [noise(16 + 4 * (index % 2), 16 + index // 8, 3) for index in range(24)]

    async def go():
        async with httpx.AsyncClient(transport=transport, base_url="http://zoo") as client:
            query = {"format": "npy"}
            posts = (client.post(TRANSLATE, params=query, files={"image": png(image)}) for image in given)
            return await asyncio.gather(*posts)

    answers = [array(answer)[0] for answer in asyncio.run(go())]
    graphs = open_pipeline(artifacts / "styles")
    for image, answer in zip(given, answers, strict=True):
        assert np.array_equal(answer, graphs.translate("a2b", image[None])[0])
    assert sum(shape[0] for shape in shapes) == 24
    assert len(shapes) < 18, "requests met in batches"


BAD_UPLOADS = [
    (415, {"content": b"{}", "headers": {"content-type": "application/json"}}),
    (415, {"content": b"image=x", "headers": {"content-type": "application/x-www-form-urlencoded"}}),
    (415, {"content": b"x", "headers": {"content-type": "application/vnd.bentoml+pickle"}}),
    (415, {"content": b"<svg/>", "headers": {"content-type": "image/svg+xml"}}),
    (415, {"content": b"x"}),
    (400, {"content": b"", "headers": {"content-type": "image/png"}}),
    (415, {"content": b"no image", "headers": {"content-type": "image/png"}}),
    (415, {"content": b"GIF89a" + bytes(40), "headers": {"content-type": "image/png"}}),
    (400, {"content": png(noise(9, 9))[:-30], "headers": {"content-type": "image/png"}}),
    (400, {"data": {"direction": "a2b"}, "files": {"picture": png(noise(9, 9))}}),
    (400, {"data": {"image": "http://example.org/x.png"}, "files": {"other": b""}}),
    (400, {"files": {"image": (None, "data:image/png;base64,AAAA")}}),
    (400, {"files": [("image", b"1"), ("image", b"2")]}),
    (400, {"files": {"image": b""}}),
    (400, {"content": b"--x\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}}),
    (400, {"content": b"abc", "headers": {"content-type": "multipart/form-data"}}),
    (400, {"content": b"a", "headers": {"content-type": "multipart/form-data; boundary*=utf-8''%E2%82%AC"}}),
    (400, {"content": b"abc", "headers": {"content-type": 'multipart/form-data; boundary="a\\\\"'}}),
    (400, {"data": {"direction": ""}, "files": {"image": png(noise(9, 9))}}),
    (400, {"data": {"direction": "sideways"}, "files": {"image": png(noise(9, 9))}}),
    (400, {"data": {"format": "bmp"}, "files": {"image": png(noise(9, 9))}}),
    (400, {"data": {"colour": "red"}, "files": {"image": png(noise(9, 9))}}),
    (400, {"params": {"format": "png"}, "data": {"format": "npy"}, "files": {"image": png(noise(9, 9))}}),
    (413, {"files": {"image": bytes(30_000)}}),
    (413, {"files": {"image": png(np.zeros((1, 5000, 3), np.uint8))}}),
]


@pytest.mark.parametrize(("status", "options"), BAD_UPLOADS, ids=range(len(BAD_UPLOADS)))
def test_bad_uploads_are_refused(ask, status, options):
    refused(ask("POST", TRANSLATE, **options), status)


@pytest.mark.parametrize("model", ["styles", "pairs"])
def test_what_an_image_is_padded_to_counts(ask, model):
    """A line of pixels is no small image for a graph that wants squares: refused before it is decoded."""
    line = png(np.zeros((1, 600, 3), np.uint8))
    path = f"/v1/models/{model}/translate"
    assert refused(ask("POST", path, files={"image": line}), 413)["code"] == "image_too_large"
    assert ask("POST", path, files={"image": png(noise(1, 60))}).status_code == 200


def test_a_form_that_claims_another_charset_is_read_as_utf_8(ask):
    """And soon: some charsets take seconds to decode a megabyte."""
    image = png(noise(9, 9))
    head = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n'
    body = head % (b"direction", b"") + b"b2a\r\n" + head % (b"image", b'; filename="i"') + image
    kind = "multipart/form-data; boundary=x; charset=punycode"
    answer = ask("POST", TRANSLATE, content=body + b"\r\n--x--\r\n", headers={"content-type": kind})
    assert answer.headers["x-direction"] == "b2a"
    long = head % (b"direction", b"") + b"a" * 2000 + b"\r\n--x--\r\n"
    refused(ask("POST", TRANSLATE, content=long, headers={"content-type": kind}), 400)


def test_a_query_without_end_is_refused(ask):
    options = {"params": [("format", "png")] * 5000, "files": {"image": png(noise(9, 9))}}
    refused(ask("POST", TRANSLATE, **options), 400)


def test_an_image_is_what_its_content_says(ask):
    for kind in ("image/gif", "image/jpg", "application/octet-stream"):
        answer = ask("POST", TRANSLATE, content=png(noise(9, 9)), headers={"content-type": kind})
        assert answer.status_code == 200


def test_more_images_than_the_server_will_hold_are_refused_at_once(artifacts):
    settings = Settings(artifacts=artifacts, provider="cpu", max_uploads=2)
    repository = repository_of(settings)
    transport = httpx.ASGITransport(app=RequestMiddleware(router(repository), ERROR_BODIES))

    async def go():
        async with httpx.AsyncClient(transport=transport, base_url="http://zoo") as client:
            posts = (client.post(TRANSLATE, files={"image": png(noise(40, 40))}) for _ in range(8))
            return await asyncio.gather(*posts)

    statuses = sorted(answer.status_code for answer in asyncio.run(go()))
    assert statuses.count(200) >= 2
    assert statuses.count(429) + statuses.count(200) == 8
    assert 429 in statuses
    assert repository.uploads.held == 0


def test_a_task_is_asked_for_by_its_name(ask):
    files = {"image": png(noise(9, 9))}
    assert refused(ask("POST", "/v1/models/pictures/translate", files=files), 400)["code"] == "wrong_task"
    assert "/translate" in refused(ask("POST", "/v1/models/styles/sample", json={}), 400)["message"]
    refused(ask("POST", "/v1/models/nope/translate", files=files), 404)


def test_unknown_paths_and_methods_have_the_same_shape(ask):
    assert refused(ask("GET", "/v1/nothing"), 404)["code"] == "not_found"
    refused(ask("GET", "/v1/models/"), 404)
    wrong = ask("GET", SAMPLE)
    assert refused(wrong, 405)["code"] == "method_not_allowed"
    assert wrong.headers["allow"] == "POST"


def test_what_fails_inside_is_a_500_without_a_word_of_it_but_in_the_log(ask, monkeypatch, caplog):
    def fail(*arguments):
        raise RuntimeError("secret/path.py")

    monkeypatch.setattr("serving.api.sampling.inputs_of", fail)
    answer = ask("POST", SAMPLE, json={})
    assert refused(answer, 500)["code"] == "internal_error"
    assert answer.headers["x-request-id"] in caplog.text
    assert "secret/path.py" in caplog.text


def test_a_body_that_comes_too_slowly_is_a_408(artifacts, monkeypatch):
    monkeypatch.setattr("serving.api.bodies.BODY_SECONDS", 0.1)
    app, sent = app_of(Settings(artifacts=artifacts, provider="cpu")), []
    pieces = [{"type": "http.request", "body": b'{"n"', "more_body": True}]

    async def receive():
        if not pieces:
            await asyncio.sleep(60)
        return pieces.pop()

    async def send(message):
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"host", b"zoo")]
    scope = {"type": "http", "method": "POST", "path": SAMPLE, "headers": headers}
    asyncio.run(app({**scope, "query_string": b"", "root_path": ""}, receive, send))
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["error"]["code"] == "too_slow"
    assert (b"connection", b"close") in sent[0]["headers"]


def test_without_memory_a_request_gets_503_and_in_the_end_the_server_is_not_ready(artifacts, monkeypatch):
    class Starved:
        def run(self, outputs, inputs):
            raise RuntimeError("CUDA failure 2: out of memory")

    repository = repository_of(Settings(artifacts=artifacts, provider="cpu"))
    ask = asker(RequestMiddleware(router(repository), ERROR_BODIES))
    for said, path in (("pictures", SAMPLE), ("pictures", SAMPLE)):
        repository.models[said].engine.sessions["generator"] = Starved()
        monkeypatch.setattr("serving.runtime.engine.open_session", lambda *_: Starved())
        answer = ask("POST", path, json={"seed": 1})
        assert refused(answer, 503)["code"] == "out_of_memory"
    assert ask("GET", "/readyz").json()["status"] == "out of memory"
    assert ask("GET", "/readyz").status_code == ask("GET", "/v2/health/ready").status_code == 503
    assert ask("GET", "/livez").status_code == 200


def test_a_server_that_is_about_to_end_is_not_ready_and_goes_on_answering(artifacts):
    repository = repository_of(Settings(artifacts=artifacts, provider="cpu"))
    ask = asker(RequestMiddleware(router(repository), ERROR_BODIES))
    assert ask("GET", "/readyz").status_code == 200
    repository.shut_down()
    assert ask("GET", "/readyz").json()["status"] == "leaving"
    Ready.model_validate_json(ask("GET", "/readyz").content)
    assert ask("GET", "/readyz").status_code == 503
    assert ask("POST", SAMPLE, json={"seed": 1}).status_code == 200


def test_images_that_would_wait_too_long_are_refused_before_they_are_read(artifacts):
    repository = repository_of(Settings(artifacts=artifacts, provider="cpu", max_queue_seconds=0.0))
    ask = asker(RequestMiddleware(router(repository), ERROR_BODIES))
    for batcher in repository.models["styles"].batchers.values():
        batcher._rows, batcher._numbers, batcher._pace = 1, 1000, 0.001
    answer = ask(
        "POST", "/v1/models/styles/translate", content=b"no image", headers={"content-type": "image/png"}
    )
    assert refused(answer, 429)["code"] == "busy"
    repository.models["styles"].batchers["b2a"]._rows = 0
    answer = ask(
        "POST", "/v1/models/styles/translate", content=b"no image", headers={"content-type": "image/png"}
    )
    assert answer.status_code == 415, "the other direction is free"


def test_an_answer_that_takes_too_long_is_a_503():
    async def forever(scope, receive, send):
        await asyncio.sleep(60)

    async def go():
        transport = httpx.ASGITransport(app=RequestMiddleware(forever, ERROR_BODIES, deadline=0.05))
        async with httpx.AsyncClient(transport=transport, base_url="http://zoo") as client:
            return await client.get("/")

    answer = asyncio.run(go())
    assert refused(answer, 503)["code"] == "too_late"
    assert answer.headers["retry-after"] == "1"


def test_too_much_work_is_refused_at_once_with_a_time_to_wait(artifacts):
    settings = Settings(artifacts=artifacts, provider="cpu", max_images=16, max_queue=16)
    transport = httpx.ASGITransport(app=app_of(settings))

    async def go():
        async with httpx.AsyncClient(transport=transport, base_url="http://zoo") as client:
            posts = (client.post(SAMPLE, json={"n": 16, "seed": 0, "format": "npy"}) for _ in range(32))
            return await asyncio.gather(*posts)

    answers = asyncio.run(go())
    busy = [answer for answer in answers if answer.status_code == 429]
    served = [array(answer).tobytes() for answer in answers if answer.status_code == 200]
    assert busy
    assert len(set(served)) == 1
    assert len(busy) + len(served) == 32
    assert all(answer.headers["retry-after"] == "1" for answer in busy)
    assert refused(busy[0], 429)["code"] == "busy"


def test_a_folder_without_artifacts_is_refused(tmp_path):
    with pytest.raises(EngineError, match="no folder"):
        repository_of(Settings(artifacts=tmp_path / "none"))
    with pytest.raises(EngineError, match="holds no artifact"):
        repository_of(Settings(artifacts=tmp_path))


def test_what_is_half_written_is_not_served(tmp_path):
    for name in ("b", "a", "c.partial", "d.old", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "README.md").touch()
    assert [folder.name for folder in artifact_folders(tmp_path)] == ["a", "b"]


PICTURE = "/v1/models/pictures/samples"


def test_one_picture_for_ever_under_its_version(ask):
    version = ask("GET", "/v1/models").json()["models"][2]["version"]
    bare, kept = ask("GET", f"{PICTURE}/43.png"), ask("GET", f"{PICTURE}/43.png?version={version}")
    assert bare.content == kept.content == ask("POST", SAMPLE, json={"seed": 43}).content
    assert bare.headers["cache-control"] == "public, no-cache"
    assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
    tag = kept.headers["etag"]
    assert tag == bare.headers["etag"]
    assert tag.startswith('"'), "strong"
    again = ask("GET", f"{PICTURE}/43.png", headers={"If-None-Match": f'"other", {tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    others = [f"{PICTURE}/44.png", f"{PICTURE}/43.png?truncation=0.5"]
    assert tag not in [ask("GET", other).headers["etag"] for other in others]
    head = ask("HEAD", f"{PICTURE}/43.png")
    assert (head.status_code, head.headers["etag"]) == (200, tag)


def test_a_seeds_picture_may_be_of_a_class(ask):
    path = "/v1/models/classes/samples/7.png"
    asked = ask("POST", "/v1/models/classes/sample", json={"seed": 7, "label": "C"})
    assert ask("GET", f"{path}?label=C").content == ask("GET", f"{path}?label=2").content == asked.content


@pytest.mark.parametrize(
    ("status", "rest"),
    [
        (404, f"{MAX_SEED + 1}.png"),
        (404, "-1.png"),
        (404, "1.5.png"),
        (404, "\u0663.png"),
        (404, "1" * 400 + ".png"),
        (404, "1.jpg"),
        (404, "1.png?version=other"),
        (400, "1.png?label=A"),
        (400, "1.png?truncation=0"),
        (400, "1.png?truncation=nan"),
        (400, "1.png?truncation=0.5&truncation=0.5"),
        (400, "1.png?colour=red"),
    ],
)
def test_other_pictures_are_refused(ask, status, rest):
    refused(ask("GET", f"{PICTURE}/{rest}"), status)


def test_truncated_pictures_are_nearer_to_the_mean_one(ask):
    def drawn(**body: object) -> np.ndarray:
        return array(ask("POST", SAMPLE, json={"n": 8, "seed": 0, "format": "npy"} | body)).astype(float)

    mean = array(ask("POST", SAMPLE, json={"latents": [[0.0] * 8], "format": "npy"})).astype(float)
    whole, half = (np.abs(drawn(truncation=part) - mean).mean() for part in (1, 0.5))
    assert half < whole
    assert np.array_equal(drawn(truncation=1), drawn())
    refused(ask("POST", SAMPLE, json={"latents": [[0.0] * 8], "truncation": 0.5}), 400)


WALK = "/v1/models/pictures/interpolate"


def test_a_walk_goes_from_picture_to_picture(ask):
    body = {"seeds": [3, 9, 3], "n": 9}
    steps = array(ask("POST", WALK, json=body | {"format": "npy"}))
    assert steps.shape == (9, 16, 16, 1)
    for place, seed in ((0, 3), (4, 9), (8, 3)):
        assert np.array_equal(
            steps[place], array(ask("POST", SAMPLE, json={"seed": seed, "format": "npy"}))[0]
        )
    assert not np.array_equal(steps[2], steps[0])
    film = ask("POST", WALK, json=body)
    assert film.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(film.content)) as frames:
        assert frames.size == (16, 16)
        assert frames.n_frames > 1
    sheet = ask("POST", WALK, json=body | {"format": "png"})
    assert Image.open(io.BytesIO(sheet.content)).size == (3 * 18 + 2, 3 * 18 + 2)
    assert len(ask("POST", WALK, json=body | {"format": "json"}).json()["images"]) == 9


def test_a_walk_of_a_conditional_model_stays_in_its_class(ask):
    path = "/v1/models/classes/interpolate"
    by_default = array(ask("POST", path, json={"seeds": [4, 6], "n": 3, "format": "npy"}))
    told = array(ask("POST", path, json={"seeds": [4, 6], "n": 3, "label": "B", "format": "npy"}))
    assert np.array_equal(by_default, told)


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("seeds", {}),
        ("seeds", {"seeds": [1]}),
        ("seeds", {"seeds": [1, -1]}),
        ("seeds", {"seeds": [1, 2.5]}),
        ("n", {"seeds": [1, 2], "n": 1}),
        ("n", {"seeds": [1, 2], "n": 17}),
        ("format", {"seeds": [1, 2], "format": "jpeg"}),
        ("milliseconds", {"seeds": [1, 2], "milliseconds": 0}),
        ("label", {"seeds": [1, 2], "label": "A"}),
    ],
)
def test_other_walks_are_refused(ask, field, body):
    assert refused(ask("POST", WALK, json=body), 400)["field"] == field


@pytest.mark.parametrize("kind", ["webp", "jpeg", "zip"])
def test_the_other_formats_come_from_every_task(ask, kind):
    sampled = ask("POST", SAMPLE, json={"n": 3, "seed": 1, "format": kind})
    translated = ask("POST", TRANSLATE, params={"format": kind}, files={"image": png(noise(20, 30))})
    for answer in (sampled, translated):
        assert answer.status_code == 200
        assert answer.headers["content-type"] == ("application/zip" if kind == "zip" else f"image/{kind}")


def test_metrics_count_what_was_served(ask):
    def value(text: str, series: str) -> float:
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(series))

    served = 'ganzoo_requests_total{model="points",route="sample",status="200"}'
    rows = 'ganzoo_batch_rows_sum{graph="generator",model="points"}'
    before = ask("GET", "/metrics").text
    ask("POST", "/v1/models/points/sample", json={"n": 3})
    after = ask("GET", "/metrics").text
    assert value(after, served) == value(before, served) + 1
    assert value(after, rows) == value(before, rows) + 3


def series(text: str) -> set[str]:
    return {line.rpartition(" ")[0] for line in text.splitlines() if line.startswith("ganzoo_request")}


def test_whatever_is_asked_for_there_are_no_more_series(ask):
    def wander(number: int) -> None:
        ask("GET", f"/v1/models/{number}")
        ask("POST", f"/v1/models/{number}/sample", json={})
        ask("POST", f"/v2/models/{number}/infer", json={"inputs": []})
        ask("GET", f"/v2/models/pictures/versions/{number}")
        ask("GET", f"{PICTURE}/{number}.png?version={number}")
        ask("GET", f"/{number}")
        ask("GET", "/metrics")

    wander(0)
    before = series(ask("GET", "/metrics").text)
    for number in range(1, 30):
        wander(number)
    assert series(ask("GET", "/metrics").text) == before
    count_request("other", "", 418, 0.1)
    assert series(ask("GET", "/metrics").text) > before, "the control: another status is another series"


def test_what_a_format_can_not_hold_is_refused():
    assert encode(Result(np.zeros((1, 1, 16_000, 3), np.uint8), {}), "webp")
    with pytest.raises(APIError, match="16383"):
        encode(Result(np.zeros((1, 1, 20_000, 3), np.uint8), {}), "webp")


def test_vectors_that_are_no_numbers_are_refused(artifacts):
    """JSON has no word for them."""
    repository = repository_of(Settings(artifacts=artifacts, provider="cpu"))
    repository.models["points"].batchers["generator"]._run = lambda inputs: np.full(
        (1, 2), np.inf, np.float32
    )
    ask = asker(RequestMiddleware(router(repository), ERROR_BODIES))
    assert refused(ask("POST", "/v1/models/points/sample", json={}), 400)["field"] == "latents"


def test_too_many_pictures_at_work_are_refused_while_they_are_encoded(artifacts):
    repository = repository_of(Settings(artifacts=artifacts, provider="cpu", max_images=16, max_queue=16))
    with repository.models["pictures"].at_work.hold(10):
        assert refused(
            asker(RequestMiddleware(router(repository), ERROR_BODIES))("POST", SAMPLE, json={"n": 7}), 429
        )
        assert (
            asker(RequestMiddleware(router(repository), ERROR_BODIES))(
                "POST", SAMPLE, json={"n": 6}
            ).status_code
            == 200
        )
    assert repository.models["pictures"].at_work.held == 0
