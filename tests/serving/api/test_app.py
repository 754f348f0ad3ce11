"""The HTTP contract in process: paths, errors, deadlines, and models that are not there."""

import asyncio

import httpx
import pytest

from serving.api.app import ERROR_BODIES
from serving.errors import EngineError
from serving.middleware.request import RequestMiddleware
from serving.repository.repository import artifact_folders
from serving.settings import Settings
from tests.serving.api.asking import SAMPLE, app_of, array, noise, png, refused, repository_of


@pytest.mark.parametrize(
    "name", ["nope", "..", "%2e%2e", "../pictures", "pictures%00", "%2e%2e%2fpictures", "pictures%0aforged"]
)
def test_unknown_models_are_looked_up_and_not_opened(ask, name):
    error = refused(ask("POST", f"/v1/models/{name}/sample", json={}), 404)
    assert error["code"] in ("unknown_model", "not_found")


def test_an_unknown_model_is_told_which_there_are(ask):
    assert "pictures, points, styles" in refused(ask("GET", "/v1/models/nope"), 404)["message"]


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
    with pytest.raises(EngineError, match="contains no artifact"):
        repository_of(Settings(artifacts=tmp_path))


def test_what_is_half_written_is_not_served(tmp_path):
    for name in ("b", "a", "c.partial", "d.old", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "README.md").touch()
    assert [folder.name for folder in artifact_folders(tmp_path)] == ["a", "b"]
