"""Translation over HTTP: images of every kind and size, and what is none."""

import asyncio
import base64
import io

import httpx
import numpy as np
import pytest
from PIL import Image

from serving.api.app import ERROR_BODIES, router
from serving.middleware.request import RequestMiddleware
from serving.runtime.load import load
from serving.settings import Settings
from tests.serving.api.asking import TRANSLATE, app_of, array, asker, noise, png, refused, repository_of


def test_an_image_is_translated_raw_or_in_a_form_in_every_format(ask, artifacts):
    pixels = noise(21, 34)
    graphs = load(artifacts / "styles")
    body, raw = png(pixels), {"content-type": "image/png"}
    for direction in ("a2b", "b2a"):
        expected = graphs.translate(pixels[None], direction)
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
    graphs = load(artifacts / "styles")
    for image, answer in zip(given, answers, strict=True):
        assert np.array_equal(answer, graphs.translate(image[None], "a2b")[0])
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


def test_an_enlarged_image_is_a_multiple_of_its_source_and_limits_count_its_pixels(enlarger):
    model, path = load(enlarger / "larger"), "/v1/models/larger/translate"
    ask = asker(app_of(Settings(artifacts=enlarger, provider="cpu", max_pixels=4 * 30 * 40)))
    pixels = noise(30, 40)
    answer = ask("POST", path, params={"format": "npy"}, files={"image": png(pixels)})
    assert array(answer).shape == (1, 60, 80, 3)
    assert np.array_equal(array(answer)[0], model.translate(pixels))
    assert answer.headers["x-direction"] == "upscale"
    picture = ask("POST", path, files={"image": png(noise(7, 9))})
    assert Image.open(io.BytesIO(picture.content)).size == (18, 14)
    assert refused(ask("POST", path, files={"image": png(noise(30, 41))}), 413)["code"] == "image_too_large"
    graphs = ask("GET", "/v1/models").json()["models"][0]["graphs"]
    assert graphs["upscale"]["output"]["scale"] == 2

    def infer(height, width):
        data = {
            "name": "image",
            "datatype": "UINT8",
            "shape": [1, height, width, 3],
            "data": [0] * height * width * 3,
        }
        return ask("POST", "/v2/models/larger/infer", json={"inputs": [data]})

    assert infer(6, 5).json()["outputs"][0]["shape"] == [1, 12, 10, 3]
    assert infer(30, 41).status_code == 413


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


def test_images_that_would_wait_too_long_are_refused_before_they_are_read(artifacts):
    repository = repository_of(Settings(artifacts=artifacts, provider="cpu", max_queue_seconds=0.1))
    ask = asker(RequestMiddleware(router(repository), ERROR_BODIES))
    for batcher in repository.models["styles"].batchers.values():
        batcher._numbers, batcher._pace = 1000, 0.001
    answer = ask(
        "POST", "/v1/models/styles/translate", content=b"no image", headers={"content-type": "image/png"}
    )
    assert refused(answer, 429)["code"] == "busy"
    repository.models["styles"].batchers["a2b"]._numbers = 0
    answer = ask(
        "POST", "/v1/models/styles/translate", content=b"no image", headers={"content-type": "image/png"}
    )
    assert answer.status_code == 415, "its direction is free"
