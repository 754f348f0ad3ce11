"""BentoML's typed calls, without BentoML's server: by the rules and in the shapes of /v1."""

import asyncio
import base64

import pytest

from serving.api.requests import TypedSample, TypedTranslate
from serving.api.sampling import SamplingRoutes
from serving.api.translation import TranslationRoutes
from serving.api.typed_calls import TypedCalls, _decode
from serving.settings import Settings
from tests.serving.api.asking import app_of, asker, noise, png, refused, repository_of

IMAGE = base64.b64encode(png(noise(20, 30))).decode()


@pytest.fixture(scope="module")
def ask(artifacts):
    return asker(app_of(Settings(artifacts=artifacts, provider="cpu")))


def test_they_give_what_v1_gives(ask):
    typed = ask("POST", "/sample", json={"model": "pictures", "seed": 3, "n": 4})
    assert typed.headers["content-type"] == "image/png"
    assert typed.content == ask("POST", "/v1/models/pictures/sample", json={"seed": 3, "n": 4}).content
    typed = ask("POST", "/translate", json={"model": "styles", "image": IMAGE, "direction": "b2a"})
    own = ask("POST", "/v1/models/styles/translate?direction=b2a", files={"image": png(noise(20, 30))})
    assert typed.content == own.content


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/sample", {}, 400),
        ("/sample", {"model": "nope"}, 404),
        ("/sample", {"model": "styles"}, 400),
        ("/sample", {"model": "pictures", "n": 0}, 400),
        ("/sample", {"model": "pictures", "n": 10**9}, 400),
        ("/sample", {"model": "pictures", "seed": "3"}, 400),
        ("/sample", {"model": "pictures", "colour": "red"}, 400),
        ("/sample", {"model": 3}, 400),
        ("/translate", {"model": "styles"}, 400),
        ("/translate", {"model": "styles", "image": "!"}, 400),
        ("/translate", {"model": "styles", "image": "café"}, 400),
        ("/translate", {"model": "styles", "image": ""}, 400),
        ("/translate", {"model": "styles", "image": "aGVsbG8=" * 2**14}, 400),
        ("/translate", {"model": "styles", "image": "aGVs" * 2**15 + "a"}, 400),
        ("/translate", {"model": "styles", "image": "aGVs" * 2**15}, 415),
        ("/translate", {"model": "styles", "image": "aGVs" * 2**15 + "bG8="}, 415),
        ("/translate", {"model": "styles", "image": IMAGE[: len(IMAGE) // 8 * 4]}, 400),
        ("/translate", {"model": "styles", "image": "aGVsbG8="}, 415),
        ("/translate", {"model": "styles", "image": IMAGE, "direction": "up"}, 400),
        ("/translate", {"model": "pictures", "image": IMAGE}, 400),
    ],
)
def test_errors_have_the_shape_of_all(ask, path, body, status):
    refused(ask("POST", path, json=body), status)


def test_a_large_image_is_decoded_part_by_part():
    data = noise(200, 301).tobytes()
    for length in (0, 1, 2, 3, 2**15, len(data)):
        assert _decode(base64.b64encode(data[:length]).decode()) == data[:length]


def test_in_this_process_they_give_the_same(artifacts, ask):
    repository = repository_of(Settings(artifacts=artifacts, provider="cpu"))
    calls = TypedCalls(repository, SamplingRoutes(repository), TranslationRoutes(repository), dict)
    sampled = asyncio.run(calls.sample(TypedSample(model="pictures", seed=3)))
    assert sampled.body == ask("POST", "/sample", json={"model": "pictures", "seed": 3}).content
    translated = asyncio.run(calls.translate(TypedTranslate(model="styles", image=IMAGE)))
    assert translated.body == ask("POST", "/translate", json={"model": "styles", "image": IMAGE}).content
