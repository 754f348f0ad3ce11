"""The document of the contract: valid, whole, and true of real answers."""

import json

import jsonschema
import pytest
from openapi_spec_validator import validate

from serving.api.app import ERROR_BODIES, router
from serving.api.openapi import CALLS, document
from serving.middleware.request import RequestMiddleware
from serving.settings import Settings
from tests.serving.api.asking import app_of, asker, noise, png, repository_of
from tests.serving.api.open_inference.test_routes import latent


@pytest.fixture(scope="module")
def ask(artifacts):
    return asker(app_of(Settings(artifacts=artifacts, provider="cpu", max_images=16)))


@pytest.fixture(scope="module")
def spec(ask):
    return ask("GET", "/docs.json").json()


def test_the_document_is_valid_and_has_every_route(spec, artifacts):
    validate(spec)
    routes = router(repository_of(Settings(artifacts=artifacts, provider="cpu"))).routes
    assert set(spec["paths"]) == {route.path for route in routes} - {
        "/",
        "/playground/{file:path}",
        "/static_content/{file:path}",
    }
    named = {operation["operationId"] for path in spec["paths"].values() for operation in path.values()}
    assert named >= CALLS.keys()
    for path in spec["paths"].values():
        for operation in path.values():
            assert operation["summary"]
            assert {"200", "500"} <= operation["responses"].keys()


def schema_of(spec, method: str, path: str, answer) -> dict:
    """The schema of an answer's body; fails where the document does not have its status or type."""
    said = spec["paths"][path][method.lower()]["responses"][str(answer.status_code)]
    kind = answer.headers["content-type"].partition(";")[0]
    return said["content"][kind]["schema"] | {"components": spec["components"]}


SAMPLE, SEED = "/v1/models/{model}/sample", "/v1/models/{model}/samples/{seed}.png"
ANSWERS = [
    ("GET", "/v1/models", {}, {}),
    ("GET", "/v1/models/{model}", {"model": "classes"}, {}),
    ("GET", "/v1/models/{model}", {"model": "nope"}, {}),
    ("POST", SAMPLE, {"model": "pictures"}, {"json": {"format": "json", "n": 2}}),
    ("POST", SAMPLE, {"model": "points"}, {"json": {"format": "json"}}),
    ("POST", SAMPLE, {"model": "pictures"}, {"json": {}}),
    ("POST", SAMPLE, {"model": "pictures"}, {"json": {"n": 0}}),
    ("POST", SAMPLE, {"model": "pictures"}, {"content": b"{}"}),
    ("GET", SEED, {"model": "pictures", "seed": "3"}, {}),
    ("GET", SEED, {"model": "pictures", "seed": "x"}, {}),
    ("POST", "/v1/models/{model}/interpolate", {"model": "pictures"}, {"json": {"seeds": [1, 2]}}),
    ("POST", "/v1/models/{model}/translate", {"model": "styles"}, {"files": {"image": png(noise(9, 9))}}),
    ("GET", "/livez", {}, {}),
    ("GET", "/readyz", {}, {}),
    ("GET", "/metrics", {}, {}),
    ("GET", "/docs", {}, {}),
    ("GET", "/docs.json", {}, {}),
    ("GET", "/v2", {}, {}),
    ("GET", "/v2/health/live", {}, {}),
    ("GET", "/v2/health/ready", {}, {}),
    ("POST", "/v2/repository/index", {}, {}),
    ("GET", "/v2/models/{model}", {"model": "styles.a2b"}, {}),
    ("GET", "/v2/models/{model}/ready", {"model": "pictures"}, {}),
    ("GET", "/v2/models/{model}", {"model": "nope"}, {}),
    ("POST", "/v2/models/{model}/infer", {"model": "pictures"}, {"json": {"inputs": [latent()]}}),
    ("POST", "/v2/models/{model}/infer", {"model": "pictures"}, {"json": {"inputs": []}}),
]


@pytest.mark.parametrize(("method", "path", "names", "options"), ANSWERS, ids=range(len(ANSWERS)))
def test_answers_are_what_the_document_says(ask, spec, method, path, names, options):
    answer = ask(method, path.format(**names), **options)
    schema = schema_of(spec, method, path, answer)
    if answer.headers["content-type"].startswith("application/json"):
        jsonschema.validate(answer.json(), schema)
    for name in spec["paths"][path][method.lower()]["responses"][str(answer.status_code)].get("headers", {}):
        assert name == "inference-header-content-length" or name.lower() in answer.headers


def test_an_answer_that_is_otherwise_would_be_seen(ask, spec):
    answer = ask("GET", "/livez")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(answer.json() | {"status": "dead"}, schema_of(spec, "GET", "/livez", answer))


def test_where_there_are_keys_the_document_says_so(artifacts):
    repository = repository_of(Settings(artifacts=artifacts, provider="cpu", api_keys="secret"))
    spec = asker(RequestMiddleware(router(repository), ERROR_BODIES))("GET", "/docs.json").json()
    validate(spec)
    assert spec["security"] == [{"key": []}, {"header": []}]
    assert "401" in spec["paths"]["/v1/models"]["get"]["responses"]
    assert spec["paths"]["/livez"]["get"]["security"] == []
    assert "secret" not in json.dumps(spec)
    assert document([], False)["security"] == []


def test_the_page_asks_no_other_host(ask):
    page = ask("GET", "/docs").text
    assert "swagger-ui-bundle.js" in page
    assert "//" not in page
    assert "validatorUrl: null" in ask("GET", "/static_content/docs.js").text, (
        "Swagger's own default is a validator on another host"
    )
