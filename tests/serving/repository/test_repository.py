"""Artifacts that come, change and go while requests run."""

import asyncio
import gc
import io
import json
import shutil
import threading
import weakref

import httpx
import numpy as np
import pytest

from serving.api.app import ERROR_BODIES, router
from serving.errors import OutOfMemory
from serving.middleware.request import RequestMiddleware
from serving.repository.repository import ModelRepository
from serving.settings import Settings
from tests.reliability.artifacts import HARMS
from tests.reliability.crafted import changed_manifests
from tests.reliability.swaps import exchange
from tests.serving.api.asking import app_of, asker


@pytest.fixture
def folder(artifacts, tmp_path):
    """A folder with one artifact of two versions' folders beside it."""
    for name in ("pictures", "classes"):
        shutil.copytree(artifacts / name, tmp_path / "versions" / name)
    (tmp_path / "served").mkdir()
    shutil.copytree(artifacts / "pictures", tmp_path / "served" / "changing")
    return tmp_path


def replace(folder, version: str) -> None:
    """Put another artifact in the served one's place, as an export does."""
    exchange(folder / "versions" / version, folder / "served" / "changing")


@pytest.fixture
def repository(folder):
    repository = ModelRepository(Settings(artifacts=folder / "served", provider="cpu"))
    repository.load()
    return repository


def test_what_comes_changes_and_goes(folder, repository):
    first = repository.models["changing"]
    repository.refresh()
    assert repository.models["changing"] is first, "what stays is not loaded again"
    replace(folder, "classes")
    repository.refresh()
    assert repository.models["changing"].manifest.version != first.manifest.version
    shutil.copytree(folder / "versions" / "pictures", folder / "served" / "new")
    repository.refresh()
    assert repository.models["new"].manifest.version == first.manifest.version
    shutil.rmtree(folder / "served" / "new")
    repository.refresh()
    assert "new" in repository.models, "it may only be being replaced"
    repository.refresh()
    assert list(repository.models) == ["changing"]


@pytest.mark.parametrize("fault", ["damaged", "half there", "of a newer format"])
def test_what_is_bad_is_refused_said_and_tried_again_when_it_changes(folder, repository, fault):
    ask, served = asker(RequestMiddleware(router(repository), ERROR_BODIES)), folder / "served" / "changing"
    version = repository.models["changing"].manifest.version
    replace(folder, "classes")
    graph, label = served / "generator.cpu.fp32.onnx", served / "manifest.json"
    kept = {path: path.read_bytes() for path in (graph, label)}
    match fault:
        case "damaged":
            graph.write_bytes(kept[graph][:-1] + b"!")
        case "half there":
            graph.unlink()
        case _:
            label.write_bytes(kept[label].replace(b'"format": 1', b'"format": 2'))
    repository.refresh()
    ready = ask("GET", "/readyz")
    assert (ready.status_code, list(ready.json()["refused"])) == (200, ["changing"])
    assert repository.models["changing"].manifest.version == version, "the old one goes on"
    for path, data in kept.items():
        path.write_bytes(data)
    repository.refresh()
    assert ask("GET", "/readyz").json()["refused"] == {}
    assert repository.models["changing"].manifest.version != version


def test_a_new_score_is_told_without_loading_the_graphs_again(folder, repository):
    served = repository.models["changing"]
    label = folder / "served" / "changing" / "manifest.json"
    label.write_text(label.read_text().replace('"licence": "', '"licence": "new '))
    repository.refresh()
    assert repository.models["changing"].engine.sessions is served.engine.sessions
    assert repository.models["changing"].manifest.licence.startswith("new ")


def test_a_manifest_that_the_graphs_do_not_match_is_refused(folder, repository):
    served, label = repository.models["changing"], folder / "served" / "changing" / "manifest.json"
    kept = label.read_text()
    for name, content in changed_manifests(json.loads(kept)):
        label.write_text(json.dumps(content))
        repository.refresh()
        assert repository.models["changing"] is served, name
        assert list(repository.faults) == ["changing"], name
    label.write_text(kept)
    repository.refresh()
    assert repository.faults == {}
    assert repository.models["changing"].engine.sessions is served.engine.sessions


@pytest.mark.parametrize("name", HARMS)
def test_harm_to_a_served_graph_is_named_and_the_loaded_one_goes_on(folder, repository, name):
    served = repository.models["changing"]
    HARMS[name](folder / "served" / "changing" / served.engine.variants["generator"].file)
    repository.refresh()
    assert list(repository.faults) == ["changing"]
    assert "generator" in repository.faults["changing"]
    assert repository.models["changing"] is served


@pytest.mark.parametrize("name", ["two words", "caf\u00e9", "-n", "x" * 101, "a\nb"])
def test_a_folder_whose_name_no_model_can_have_is_refused(folder, repository, name):
    shutil.copytree(folder / "versions" / "classes", folder / "served" / name)
    repository.refresh()
    assert list(repository.models) == ["changing"]
    assert "name of an artifact" in repository.faults[name]


def test_what_the_file_system_keeps_beside_the_artifacts_is_no_artifact(folder, repository):
    (folder / "served" / "lost+found").mkdir()
    (folder / "served" / ".snapshot").mkdir()
    repository.refresh()
    assert repository.faults == {}


@pytest.mark.parametrize("label", [b"[" * 100_000, b"\xff", b"null", b"{}"])
def test_whatever_lies_there_the_others_are_served(folder, repository, label):
    (folder / "served" / "broken").mkdir()
    (folder / "served" / "broken" / "manifest.json").write_bytes(label)
    repository.refresh()
    assert list(repository.faults) == ["broken"]
    assert str(folder) not in str(repository.faults)
    fresh = ModelRepository(repository.settings)
    fresh.load()
    assert list(fresh.models) == ["changing"], "a worker that starts again serves what it can"


def test_what_was_replaced_is_let_go(folder, repository):
    old = weakref.ref(repository.models["changing"].engine)
    asker(RequestMiddleware(router(repository), ERROR_BODIES))("POST", "/v1/models/changing/sample", json={})
    gc.collect()
    gc.disable()
    try:
        replace(folder, "classes")
        repository.refresh()
        assert old() is None, "without the collector, which a server hardly runs"
    finally:
        gc.enable()


def test_a_server_without_models_is_not_ready(folder, repository):
    ask = asker(RequestMiddleware(router(repository), ERROR_BODIES))
    shutil.rmtree(folder / "served" / "changing")
    assert ask("GET", "/readyz").status_code == 200
    repository.refresh()
    repository.refresh()
    assert ask("GET", "/readyz").status_code == 503
    assert ask("GET", "/v2/health/ready").json() == {"ready": False}


def test_every_answer_under_load_is_of_one_version(folder, repository):
    """Replaced over and over while asked: no error, and each answer is what its version draws."""
    app, stop, swaps = RequestMiddleware(router(repository), ERROR_BODIES), threading.Event(), 12
    expected = {}
    for version in ("pictures", "classes"):
        other = ModelRepository(Settings(artifacts=folder / "versions", provider="cpu"))
        other.load()
        model = other.models[version]
        answer = asker(app_of(other.settings))(
            "POST", f"/v1/models/{version}/sample", json={"seed": 5, "n": 3, "format": "npy"}
        )
        expected[model.manifest.version] = answer.content

    def swap():
        for number in range(swaps):
            replace(folder, "classes" if number % 2 == 0 else "pictures")
            shutil.copytree(folder / "versions" / "classes", folder / "served" / f"more{number}")
            repository.refresh()
        stop.set()

    async def ask_on(client: httpx.AsyncClient) -> list[httpx.Response]:
        answers = []
        while not stop.is_set():
            body = {"seed": 5, "n": 3, "format": "npy"}
            answers.append(await client.post("/v1/models/changing/sample", json=body))
            assert (await client.get("/v1/models")).status_code == 200
            assert (await client.get("/v2/models/changing")).status_code == 200
        return answers

    async def go():
        thread = threading.Thread(target=swap)
        thread.start()
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://zoo") as client:
            answers = await asyncio.gather(*(ask_on(client) for _ in range(4)))
        thread.join()
        return [answer for each in answers for answer in each]

    answers = asyncio.run(go())
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["x-model-version"] for answer in answers} == expected.keys(), "both were seen"
    for answer in answers:
        assert answer.content == expected[answer.headers["x-model-version"]]
    first, second = (np.load(io.BytesIO(content)) for content in expected.values())
    assert not np.array_equal(first, second), "the control: a mixture would be seen"


def test_a_model_that_has_memory_again_is_found_to_have_it(repository, monkeypatch):
    class Starved:
        def run(self, outputs, inputs):
            raise RuntimeError("std::bad_alloc")

    engine = repository.models["changing"].engine
    session = engine.sessions["generator"]
    monkeypatch.setattr("serving.runtime.engine.open_session", lambda *_: Starved())
    engine.sessions["generator"] = Starved()
    for _ in range(2):
        with pytest.raises(OutOfMemory):
            engine.run("generator", {"latent": np.zeros((1, 8), np.float32)})
    repository.refresh()
    assert repository.state == "out of memory"
    engine.sessions["generator"] = session
    repository.refresh()
    assert repository.state == "ready"


def test_looking_goes_on_after_a_fault(repository, monkeypatch):
    looked, stop = [], threading.Event()

    def refresh():
        looked.append(1)
        if len(looked) == 3:
            stop.set()
        raise OSError("the disk is away")

    monkeypatch.setattr(repository, "refresh", refresh)
    monkeypatch.setattr(repository, "settings", Settings(reload=0.01))
    repository.keep_fresh(stop)
    assert len(looked) == 3
