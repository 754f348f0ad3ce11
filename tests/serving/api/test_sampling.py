"""Sampling over HTTP: seeds, labels, latents, walks, formats, and what is refused."""

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
from serving.errors import APIError
from serving.middleware.request import RequestMiddleware
from serving.runtime.latents import MAX_SEED, draw_latents
from serving.settings import Settings
from tests.serving.api.asking import (
    PICTURE,
    SAMPLE,
    TRANSLATE,
    array,
    asker,
    noise,
    png,
    refused,
    repository_of,
)


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


@pytest.mark.parametrize(("status", "field", "body"), REFUSED)
def test_bad_values_are_refused_with_the_field(ask, status, field, body):
    error = refused(
        ask("POST", SAMPLE, content=json.dumps(body), headers={"content-type": "application/json"}), status
    )
    assert error.get("field") == field


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
