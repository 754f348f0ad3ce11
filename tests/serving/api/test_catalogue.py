"""What tells of the server: its models, their health, metrics."""

from serving.api.app import ERROR_BODIES, router
from serving.api.schemas import Ready
from serving.metrics import count_request
from serving.middleware.request import RequestMiddleware
from serving.settings import Settings
from tests.serving.api.asking import PICTURE, SAMPLE, asker, refused, repository_of


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


def test_without_memory_a_request_gets_503_and_in_the_end_the_server_is_not_ready(
    artifacts, monkeypatch, caplog
):
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
        assert "available" not in answer.text, "the machine's sizes are for the log alone"
    assert [record.message for record in caplog.records if "are available" in record.message]
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
