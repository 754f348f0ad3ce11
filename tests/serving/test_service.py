"""The server as users start it: BentoML's processes, a socket, real clients."""

import asyncio
import base64
import contextlib
import functools
import gc
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import yaml
from PIL import Image

from serving.launcher import free_port, running, serve_command, serve_environment, serving
from serving.runtime.engine import Engine
from serving.runtime.latents import draw_latents
from serving.runtime.load import load
from serving.settings import Settings
from tests.serving.api.asking import refused

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def url(artifacts, tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "log"
    with serving(Settings(artifacts=artifacts), log) as url:
        yield url


@contextlib.asynccontextmanager
async def living(app):
    """Start an app and end it, as a server does."""
    told, said = asyncio.Queue(), asyncio.Queue()
    life = asyncio.create_task(app({"type": "lifespan", "asgi": {"version": "3.0"}}, told.get, said.put))
    await told.put({"type": "lifespan.startup"})
    assert (await said.get())["type"] == "lifespan.startup.complete"
    yield
    await told.put({"type": "lifespan.shutdown"})
    assert (await said.get())["type"] == "lifespan.shutdown.complete"
    await life


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # in BentoML itself
def test_the_service_in_process(artifacts, tmp_path, monkeypatch, request):
    """BentoML's own stack around the contract, without its processes."""
    monkeypatch.setenv("GANZOO_ARTIFACTS", str(artifacts))
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    request.addfinalizer(gc.unfreeze)
    request.addfinalizer(functools.partial(gc.set_threshold, *gc.get_threshold()))
    from serving.service import GANZoo

    GANZoo.inner.check()

    async def ask() -> list[httpx.Response]:
        app = GANZoo.to_asgi()
        transport = httpx.ASGITransport(app=app)
        async with (
            living(app),
            httpx.AsyncClient(transport=transport, base_url="http://zoo") as client,
        ):
            body = {"seed": 3, "format": "npy"}
            return [
                await client.get("/readyz"),
                await client.post("/v1/models/pictures/sample", json=body),
                await client.get("/docs"),
            ]

    ready, pictures, page = asyncio.run(ask())
    assert ready.json()["models"] == dict.fromkeys(
        ["classes", "pairs", "pictures", "points", "styles"], "cpu"
    )
    assert np.array_equal(
        np.load(io.BytesIO(pictures.content)), load(artifacts / "pictures").sample(1, seed=3)
    )
    assert "<html" in page.text

    monkeypatch.setenv("GANZOO_ARTIFACTS", str(tmp_path / "none"))
    with pytest.raises(SystemExit) as ended:
        GANZoo.inner.check()
    assert ended.value.code == 2


def test_concurrent_requests_give_a_seed_its_picture(url, artifacts):
    """64 at once with 8 seeds: 8 pictures, each time the same, and the same as without a server."""
    with httpx.Client(base_url=url, limits=httpx.Limits(max_connections=64)) as client:

        def ask(index: int) -> bytes:
            answer = client.post("/v1/models/pictures/sample", json={"seed": index % 8})
            assert answer.status_code == 200
            return answer.content

        with ThreadPoolExecutor(64) as threads:
            first, second = (list(threads.map(ask, range(64))) for _ in range(2))
    assert first == second
    assert len(set(first)) == 8
    expected = load(artifacts / "pictures").sample(8, seed=0)
    for seed in range(8):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(first[seed]))), expected[seed, :, :, 0])


def test_bentomls_own_pages_are_there_and_the_rest_is_the_contracts(url):
    with httpx.Client(base_url=url) as client:
        for file in re.findall(r'(?:href|src)="([^"]+)"', client.get("/docs").text):
            assert client.get(f"/{file}").status_code == 200
        assert {route["name"] for route in client.get("/schema.json").json()["routes"]} == {
            "sample",
            "translate",
        }
        assert "ganzoo_requests_total" in client.get("/metrics").text
        assert client.get("/livez").json() == {"status": "alive"}
        missing = client.get("/no/such/path")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # in BentoML itself
def test_bentomls_own_client_works(url, artifacts):
    import bentoml

    with bentoml.SyncHTTPClient(url) as client:
        picture = Image.open(io.BytesIO(client.sample(model="pictures", seed=3)))
        assert np.array_equal(np.asarray(picture), load(artifacts / "pictures").sample(1, seed=3)[0, :, :, 0])
        pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        given = base64.b64encode(file.getvalue()).decode()
        translated = Image.open(io.BytesIO(client.translate(model="styles", image=given, direction="b2a")))
        expected = load(artifacts / "styles").translate(pixels[None], "b2a")
        assert np.array_equal(np.asarray(translated), expected[0])
    with httpx.Client(base_url=url) as plain:
        for status, path, options in [
            (404, "/sample", {"json": {"model": "nope"}}),
            (400, "/sample", {"json": {"model": "pictures", "n": 0}}),
            (400, "/translate", {"json": {"model": "styles", "image": "!"}}),
            (415, "/translate", {"files": {"image": b"http://127.0.0.1/"}, "data": {"model": "styles"}}),
            (
                415,
                "/sample",
                {"content": b"x", "headers": {"content-type": "application/vnd.bentoml+pickle"}},
            ),
            (400, "/sample", {"content": iter([b"{}"]), "headers": {"content-type": "application/json"}}),
            (400, "/sample", {"json": {"model": "pictures", "colour": "red"}}),
            (400, "/translate", {"json": {"model": "styles", "image": "caf\u00e9"}}),
            (400, "/translate", {"json": {"model": "styles", "image": "http://127.0.0.1/x.png"}}),
        ]:
            refused(plain.post(path, **options), status)


def test_a_url_where_an_image_belongs_is_refused_and_not_fetched(url):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(1)
        bait = f"http://127.0.0.1:{listener.getsockname()[1]}/image.png"
        asked = [
            httpx.post(
                f"{url}/v1/models/styles/translate", content=bait, headers={"content-type": "image/png"}
            ),
            httpx.post(f"{url}/v1/models/styles/translate", files={"image": (None, bait)}),
            httpx.post(f"{url}/v1/models/styles/translate", files={"image": ("x.png", bait)}),
            httpx.post(f"{url}/v1/models/styles/translate", params={"image": bait}, content=b""),
            httpx.post(f"{url}/translate", json={"model": "styles", "image": bait}),
            httpx.post(f"{url}/translate", files={"image": (None, bait)}, data={"model": "styles"}),
        ]
        assert {answer.status_code for answer in asked} <= {400, 415}
        with pytest.raises(TimeoutError):
            listener.accept()
        with socket.create_connection(listener.getsockname()):
            listener.accept()[0].close()  # the control: a fetch would be seen


@pytest.mark.parametrize("binary", [False, True])
def test_tritons_own_client_works(url, artifacts, binary):
    triton = pytest.importorskip("tritonclient.http")
    client = triton.InferenceServerClient(url.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("classes")
    assert "styles.a2b" in [model["name"] for model in client.get_model_repository_index()]
    metadata = client.get_model_metadata("classes")
    latents, labels = draw_latents(8, [0, 1, 2]), np.array([2, 1, 0])
    inputs = [
        triton.InferInput(spec["name"], array.shape, spec["datatype"])
        for spec, array in zip(metadata["inputs"], (latents, labels), strict=True)
    ]
    for given, array in zip(inputs, (latents, labels), strict=True):
        given.set_data_from_numpy(array, binary_data=binary)
    wanted = [triton.InferRequestedOutput("output", binary_data=binary)]
    pixels = client.infer("classes", inputs, outputs=wanted, request_id="one").as_numpy("output")
    assert np.array_equal(
        pixels, Engine(artifacts / "classes", "cpu").run("generator", {"latent": latents, "label": labels})
    )
    with pytest.raises(triton.InferenceServerException, match="there is no model 'nope'"):
        client.get_model_metadata("nope")
    inputs[1].set_data_from_numpy(np.array([2, 1, 3]), binary_data=binary)
    with pytest.raises(triton.InferenceServerException, match="label must be from 0 to 2; got 1 to 3"):
        client.infer("classes", inputs)
    client.close()


def test_a_seeds_bytes_are_the_same_alone_at_64_connections_and_across_workers(artifacts, tmp_path):
    path, seeds = "/v1/models/pictures/sample", range(8)
    with serving(Settings(artifacts=artifacts, workers=2), tmp_path / "log") as url:

        def ask(seed: int) -> bytes:  # a connection each: any worker may take it
            answer = httpx.post(f"{url}{path}", json={"seed": seed, "format": "npy"})
            return answer.content if answer.status_code == 200 else answer.text.encode()

        alone = [ask(seed) for seed in seeds]
        with ThreadPoolExecutor(64) as threads:
            together = list(threads.map(ask, [*seeds] * 24))
        lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line[:1] == "{"]
    assert together == alone * 24
    assert len(set(alone)) == len(seeds), "the control: seeds differ"
    workers = {line["id"][:12] for line in lines if line["route"] == "sample"}
    assert len(workers) == 2, "both workers were asked"


@pytest.mark.parametrize("fault", ["damaged", "missing"])
def test_a_server_that_could_not_serve_does_not_start(fault, artifacts, tmp_path):
    folder = tmp_path / "artifacts"
    shutil.copytree(artifacts, folder)
    file = folder / "points" / "generator.onnx"
    if fault == "damaged":
        file.write_bytes(file.read_bytes()[:-1] + b"!")
    else:
        shutil.rmtree(folder)
    done = subprocess.run(
        serve_command("127.0.0.1", free_port()),
        env=serve_environment(Settings(artifacts=folder)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "generator.onnx is damaged" in done.stderr if fault == "damaged" else "no folder" in done.stderr


def test_a_server_that_does_not_come_up_is_said_to_with_its_last_words(tmp_path):
    with (
        pytest.raises(OSError, match="did not start"),
        serving(Settings(artifacts=tmp_path), tmp_path / "log"),
    ):
        pass


def test_sigterm_ends_the_server_in_peace(artifacts, tmp_path):
    port = free_port()
    url, environment = f"http://127.0.0.1:{port}", serve_environment(Settings(artifacts=artifacts))
    with running(serve_command("127.0.0.1", port), url, tmp_path / "log", environment) as server:
        server.terminate()
        assert server.wait(30) == 0
    assert "pictures is served as version" in (tmp_path / "log").read_text()
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{url}/livez", timeout=1)


@pytest.fixture(scope="module")
def bento(artifacts, tmp_path_factory):
    """A Bento built as the Makefile builds it, from a copy of the tree with artifacts in it."""
    source, home = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("bentoml")
    for name in ("serving", "requirements", "training", "tests"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("bentofile.yaml", "README.md", "LICENSE", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(artifacts, source / "artifacts")
    environment = serve_environment(Settings()) | {"BENTOML_HOME": str(home)}
    command = [sys.executable, "-m", "bentoml", "build"]
    done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (folder,) = (path for path in (home / "bentos" / "ganzoo").iterdir() if path.is_dir())
    return folder


def test_a_bento_has_what_serving_needs_and_no_torch(bento):
    rooms = {path.name for path in (bento / "src").iterdir()}
    assert rooms == {"serving", "artifacts", "README.md", "LICENSE", "bentofile.yaml"}
    required = (bento / "env" / "python" / "requirements.txt").read_text()
    assert "://" not in required
    pins = (line for line in required.splitlines() if "==" in line)
    packages = {re.split(r"[=\[ ]", line)[0] for line in pins}
    assert {"onnxruntime-gpu", "pillow", "numpy", "bentoml"} <= packages
    assert not packages & {"torch", "torchvision", "onnx", "onnxscript", "triton"}
    described = yaml.safe_load((bento / "bento.yaml").read_text())
    assert described["service"] == "serving.service:GANZoo"


def test_a_bento_serves_its_own_artifacts_from_anywhere(bento, tmp_path):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GANZOO_")}
    environment["BENTOML_DO_NOT_TRACK"] = "True"
    command = [sys.executable, "-m", "bentoml", "serve", str(bento), "--port", str(port)]
    with running(command, url, tmp_path / "log", environment, tmp_path):
        models = httpx.get(f"{url}/v1/models").json()["models"]
        assert [model["name"] for model in models] == ["classes", "pairs", "pictures", "points", "styles"]
