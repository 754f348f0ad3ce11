"""Bodies: their type, their size, their time, and JSON that is none."""

import asyncio
import json
import time

import pytest
from starlette.requests import Request

from serving.api.bodies import read_upload
from serving.repository.admission import Admission
from serving.settings import Settings
from tests.serving.api.asking import SAMPLE, TRANSLATE, app_of, noise, png, refused


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


def test_others_are_answered_while_a_large_form_is_parsed():
    image = b"\r\n--" * 2**21
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="i"\r\n\r\n'
    kind = (b"content-type", b"multipart/form-data; boundary=x")
    body = {"type": "http.request", "body": head + image + b"\r\n--x--\r\n", "more_body": False}

    async def receive():
        return body

    async def wait() -> tuple[bytes, float]:
        request, longest = Request({"type": "http", "headers": [kind], "query_string": b""}, receive), 0.0
        reading = asyncio.create_task(read_upload(request, 2**24, Admission(2**24)))
        while not reading.done():
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - start)
        return (await reading)[1], longest

    read, longest = asyncio.run(wait())
    assert read == image
    assert longest < 0.06


def test_a_query_without_end_is_refused(ask):
    options = {"params": [("format", "png")] * 5000, "files": {"image": png(noise(9, 9))}}
    refused(ask("POST", TRANSLATE, **options), 400)


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
