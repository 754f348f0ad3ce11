"""Whom the server answers to, and whose pages may call it, by the whole contract."""

import pytest

from serving.api.app import ERROR_BODIES, router
from serving.middleware.origins import AllowedHosts, CrossOrigin
from serving.middleware.request import RequestMiddleware
from serving.settings import Settings
from tests.serving.api.asking import asker, refused, repository_of

PAGE = "https://pages.example.org"
ASKING = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "x-api-key",
}


@pytest.fixture(scope="module")
def contract(artifacts):
    """A function that returns a function to ask an app with some options."""
    routes = router(repository_of(Settings(artifacts=artifacts, provider="cpu")))
    return lambda **options: asker(RequestMiddleware(routes, ERROR_BODIES, **options))


@pytest.mark.parametrize(
    "host", ["gan.example.org", "GAN.example.org:3000", "a.b.example.net", "[::1]:80", "gan.example.org."]
)
def test_named_hosts_are_answered(contract, host):
    ask = contract(hosts=AllowedHosts(["gan.example.org", "*.example.net", "::1"]))
    assert ask("GET", "/v1/models", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.org", "example.net", "gan.example.org.evil.org", "", "[::2]", "[", "]:["]
)
def test_others_are_refused_except_for_health(contract, host):
    ask = contract(hosts=AllowedHosts(["gan.example.org", "*.example.net", "::1"]))
    assert refused(ask("GET", "/v1/models", headers={"host": host}), 421)["code"] == "unknown_host"
    assert ask("GET", "/readyz", headers={"host": host}).status_code == 200
    assert contract()("GET", "/v1/models", headers={"host": host}).status_code == 200, "the control"


@pytest.mark.parametrize("origins", [[PAGE], ["*"]])
def test_pages_of_allowed_origins_may_call(contract, origins):
    ask = contract(origins=CrossOrigin(origins))
    asked = ask("OPTIONS", "/v1/models/pictures/sample", headers=ASKING)
    assert (asked.status_code, asked.content) == (204, b"")
    assert not asked.headers.get_list("content-length")
    assert asked.headers["access-control-allow-origin"] in (PAGE, "*")
    assert "X-API-Key" in asked.headers["access-control-allow-headers"]
    for path, status in (("/v1/models", 200), ("/v1/models/nope", 404), ("/nothing", 404)):
        answer = ask("GET", path, headers={"origin": PAGE})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (
            status,
            asked.headers["access-control-allow-origin"],
        )
        assert "X-Request-Id" in answer.headers["access-control-expose-headers"]


def test_pages_of_other_origins_may_not(contract):
    ask = contract(origins=CrossOrigin([PAGE]))
    refused(ask("OPTIONS", "/v1/models", headers=ASKING | {"origin": "https://evil.org"}), 403)
    refused(ask("OPTIONS", "/v1/models", headers=ASKING | {"access-control-request-method": "DELETE"}), 403)
    answer = ask("GET", "/v1/models", headers={"origin": "https://evil.org"})
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["vary"] == "Origin"


def test_without_origins_there_is_no_word_of_them(contract):
    ask = contract()
    assert ask("OPTIONS", "/v1/models/pictures/sample", headers=ASKING).status_code == 405
    assert "access-control-allow-origin" not in ask("GET", "/v1/models", headers={"origin": PAGE}).headers


def test_behind_a_prefix_the_paths_are_those_below_it(contract):
    ask = contract(prefix="/tools/gan")
    for path in ("/v1/models", "/livez", "/docs", "/docs.json", "/", "/playground/index.html"):
        assert ask("GET", f"/tools/gan{path}").status_code == 200, path
    assert ask("GET", "/livez").status_code == 200, "health checks come without the proxy"
    moved = ask("GET", "/tools/gan")
    assert (moved.status_code, moved.headers["location"]) == (308, "/tools/gan/")
    refused(ask("GET", "/tools/gander"), 404)
    assert ask("GET", "/tools/gan/docs.json").json()["servers"] == [{"url": "."}]


def test_every_answer_says_that_types_are_not_to_be_guessed(contract):
    ask = contract()
    for path in ("/v1/models", "/nothing", "/docs", "/", "/metrics", "/static_content/docs.js"):
        assert ask("GET", path).headers["x-content-type-options"] == "nosniff", path
    assert "script-src" not in ask("GET", "/docs").headers["content-security-policy"]
    assert "default-src 'self'" in ask("GET", "/docs").headers["content-security-policy"]
