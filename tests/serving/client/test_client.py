"""The clients against a real server: what they return is what a pipeline returns."""

import asyncio
import contextlib
import inspect
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

import serving
from serving.errors import APIError, UserError
from serving.launcher import serving as running_server
from serving.settings import Settings


@pytest.fixture(scope="module")
def url(artifacts, tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "log"
    with running_server(Settings(artifacts=artifacts, api_keys="secret", max_images=8), log) as found:
        yield found


@pytest.fixture
def client(url):
    """A function that opens a client of a model, which is closed after the test."""
    with contextlib.ExitStack() as opened:

        def client(url: str, name: str = "", key: str = "secret") -> serving.Client:
            place = f"{url}/v1/models/{name}" if name else url
            return opened.enter_context(serving.Client(place, key=key))

        yield client


def test_one_line_takes_a_program_from_in_process_to_the_server(url, client, artifacts):
    def program(model):
        numbers = {"seed": np.int64(3), "label": np.int32(1), "truncation": np.float32(0.5)}
        walk = model.interpolate(np.array([1, 5]), n=6)
        return model.sample(20, **numbers), walk, list(model.labels)

    here, there = program(serving.load(artifacts / "classes")), program(client(url, "classes"))
    assert np.array_equal(here[0], there[0]), "three requests, of 8 images at most"
    assert np.array_equal(here[1], there[1])
    assert here[2] == there[2]


def test_translations_are_those_of_a_pipeline(url, client, artifacts, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (19, 23, 3), np.uint8)
    for suffix in ("png", "jpg", "webp", "bmp"):
        Image.fromarray(pixels).save(tmp_path / f"given.{suffix}")
    grey = Image.fromarray(pixels).convert("L")
    images = [pixels, grey, *(tmp_path / f"given.{suffix}" for suffix in ("png", "jpg", "webp", "bmp"))]
    pipeline, remote = serving.load(artifacts / "styles"), client(url, "styles")
    for image in images:
        assert np.array_equal(remote.translate(image, "b2a"), pipeline.translate(image, "b2a"))
    assert np.array_equal(remote.translate(pixels), pipeline.translate(pixels))
    assert [each.shape for each in remote.translate([pixels, grey])] == [(19, 23, 3)] * 2
    batch = np.stack([pixels, 255 - pixels])
    assert np.array_equal(remote.translate(batch), pipeline.translate(batch))
    assert remote.manifest == pipeline.manifest


def test_coroutines_return_the_same(url, artifacts):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 19, 23, 3), np.uint8)

    async def work():
        async with serving.AsyncClient(f"{url}/v1/models/classes", "secret") as classes:
            samples = await asyncio.gather(*(classes.sample(3, seed=seed) for seed in range(10)))
            walk, labels = await classes.interpolate([1, 2], 5), await classes.labels()
        async with serving.AsyncClient(f"{url}/v1/models/styles", "secret") as styles:
            return samples, walk, labels, await styles.translate(pixels), await styles.translate(list(pixels))

    samples, walk, labels, batch, several = asyncio.run(work())
    classes, styles = serving.load(artifacts / "classes"), serving.load(artifacts / "styles")
    assert all(np.array_equal(found, classes.sample(3, seed=seed)) for seed, found in enumerate(samples))
    assert np.array_equal(walk, classes.interpolate([1, 2], 5))
    assert list(labels) == list(classes.labels)
    assert np.array_equal(batch, styles.translate(pixels))
    assert np.array_equal(np.stack(several), batch)


def test_both_clients_have_the_methods_of_a_pipeline():
    for name in ("sample", "interpolate", "translate"):
        parameters = [
            list(inspect.signature(getattr(kind, name)).parameters.values())
            for kind in (serving.Pipeline, serving.Client, serving.AsyncClient)
        ]
        described = [[(each.name, each.kind, each.default) for each in some] for some in parameters]
        assert described[0] == described[1] == described[2]


def test_errors_of_the_server_are_api_errors(url, client):
    with pytest.raises(APIError, match="A, B, C") as refused:
        client(url, "classes").sample(1, label="Z")
    assert (refused.value.status, refused.value.code, refused.value.field) == (
        400,
        "invalid_request",
        "label",
    )
    with pytest.raises(APIError) as refused:
        client(url, "nothing").sample(1)
    assert (refused.value.status, refused.value.code) == (404, "unknown_model")
    with pytest.raises(APIError) as refused:
        client(url, "classes", key="wrong").sample(1)
    assert refused.value.status == 401
    with pytest.raises(APIError) as refused:
        client(url, "styles").sample(1)
    assert refused.value.code == "wrong_task"


def test_what_needs_no_server_is_said_without_one(url, client):
    with pytest.raises(UserError, match="pairs, pictures"):
        client(url).sample(1)
    for wrong in ("localhost:3000", "ftp://localhost", "http://", ""):
        with pytest.raises(UserError, match="url must be"):
            serving.Client(wrong)
    with pytest.raises(UserError, match="can't be reached"):
        client("http://127.0.0.1:9").sample(1)
    with pytest.raises(UserError, match="n must be"):
        client(url, "classes").sample(0)
    with pytest.raises(UserError, match="float64"):
        client(url, "styles").translate(np.zeros((3, 3)))


@contextlib.contextmanager
def stand_in(refusals: list[tuple[int, str]], answer: tuple[int, bytes]):
    """A server that refuses requests with a status and a Retry-After, and then answers all the same."""
    waiting, seen = list(refusals), []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            seen.append((time.monotonic(), self.client_address[1], self.headers.get("Authorization")))
            status, body = answer if not waiting else (waiting[0][0], b"busy")
            self.send_response(status)
            if waiting and waiting[0][1]:
                self.send_header("Retry-After", waiting[0][1])
            if waiting:
                waiting.pop(0)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/models/any", seen
    finally:
        server.shutdown()
        server.server_close()


MODELS = (200, b'{"models": [{"name": "any"}], "limits": {"images": 64}}')


def ask(url: str, retries: int, kind: str) -> None:
    """Ask for the list of models by either client."""
    if kind == "Client":
        with serving.Client(url, "secret", retries=retries) as sync:
            sync._limit()
        return

    async def work():
        async with serving.AsyncClient(url, "secret", retries=retries) as client:
            await client._limit()

    asyncio.run(work())


@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
def test_a_busy_server_is_asked_again_when_it_says(kind):
    with stand_in([(429, "1"), (503, "0"), (429, "")], MODELS) as (url, seen):
        ask(url, 4, kind)
    assert len(seen) == 4
    waits = np.diff([at for at, _, _ in seen])
    assert waits[0] >= 1
    assert waits[1] < 0.5
    assert waits[2] >= 4, "without a Retry-After, twice as long each time"
    assert len({port for _, port, _ in seen}) == 1, "one connection is kept"
    assert {key for _, _, key in seen} == {"Bearer secret"}


@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
def test_in_the_end_it_gives_up(kind):
    with stand_in([(429, "0")] * 5, MODELS) as (url, seen), pytest.raises(APIError, match="429") as refused:
        ask(url, 2, kind)
    assert (len(seen), refused.value.status, refused.value.code) == (3, 429, "unknown")


@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
def test_other_errors_are_not_tried_again(kind):
    """The control of the two tests above."""
    with stand_in([], (500, b"<html>")) as (url, seen), pytest.raises(APIError, match="500"):
        ask(url, 4, kind)
    assert len(seen) == 1


def test_a_server_of_one_model_needs_no_name():
    with stand_in([], MODELS) as (url, _), serving.Client(url.removesuffix("/any")) as client:
        client._limit()
        assert client._protocol.model == "any"
        assert "any at http://" in repr(client)
