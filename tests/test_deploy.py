"""What is around a server, as it is shipped: the proxy in front of it, and the dashboard of its metrics."""

import json
import re
import socket
import time
from pathlib import Path

import httpx
import pytest

from serving.launcher import serving
from serving.settings import Settings
from tests.nginx import NGINX, proxying
from tests.serving.api.asking import SAMPLE, app_of, asker, refused


@pytest.fixture(scope="module")
def proxy(artifacts, tmp_path_factory):
    """The proxy's address, and the server's behind it; its times are a tenth of those that are shipped."""
    if NGINX is None:
        pytest.skip("there is no nginx")
    place = tmp_path_factory.mktemp("proxy")
    times = ("client_header_timeout", "client_body_timeout")
    changes = {f"{name} 10s": f"{name} 1s" for name in times}
    with (
        serving(Settings(artifacts=artifacts), place / "server.log") as url,
        proxying(url, place, changes) as address,
    ):
        yield address, url


def seconds_until_closed(address: str, words: list[bytes]) -> float:
    """Send words, and no more: how long the connection is held."""
    place = httpx.URL(address)
    with socket.create_connection((place.host, place.port), timeout=8) as connection:
        for word in words:
            connection.sendall(word)
        start = time.monotonic()
        try:
            while connection.recv(4096):
                pass
        except TimeoutError:
            pass
        return time.monotonic() - start


def test_slow_clients_are_let_go(proxy):
    address, server = proxy
    slow_headers = [b"GET /livez HTTP/1.1\r\nHost: zoo\r\nX-Slow: "]
    slow_body = [b"POST /v1/models/pictures/sample HTTP/1.1\r\nHost: zoo\r\nContent-Length: 10\r\n\r\n{"]
    assert seconds_until_closed(address, slow_headers) < 5
    assert seconds_until_closed(address, slow_body) < 5
    assert seconds_until_closed(server, slow_headers) > 7, "the control: the server itself holds on"


def test_pictures_of_a_version_are_kept_and_others_are_not(proxy):
    address, _ = proxy
    models = httpx.get(f"{address}/v1/models").json()["models"]
    version = next(model["version"] for model in models if model["name"] == "pictures")
    path = f"{address}/v1/models/pictures/samples/7.png"
    first, second = (httpx.get(path, params={"version": version}) for _ in range(2))
    assert [answer.headers["x-cache"] for answer in (first, second)] == ["MISS", "HIT"]
    assert first.content == second.content
    assert first.headers["etag"] == second.headers["etag"]
    unversioned = [httpx.get(path).headers["x-cache"] for _ in range(2)]
    assert "HIT" not in unversioned, "tomorrow it may be another model's"


@pytest.mark.parametrize(("header", "seed"), [("Authorization", 8), ("X-API-Key", 9)])
def test_no_header_poisons_the_cache(proxy, header, seed):
    """A request whose header would complete its address to another's."""
    address, server = proxy
    models = httpx.get(f"{address}/v1/models").json()["models"]
    version = next(model["version"] for model in models if model["name"] == "pictures")
    path = f"/v1/models/pictures/samples/{seed}.png?version={version}&truncation="
    attack = httpx.get(f"{address}{path}0.1", headers={header: "9"})
    victim, truth = (httpx.get(f"{place}{path}0.19") for place in (address, server))
    assert attack.status_code == victim.status_code == 200
    assert attack.content != truth.content, "the control: they differ"
    assert victim.content == truth.content
    assert attack.headers["x-cache"] == "BYPASS"
    assert httpx.get(f"{address}{path}0.1").headers["x-cache"] == "MISS", "nothing of it was kept"


def test_what_is_too_large_or_not_for_strangers_is_refused(proxy):
    address, server = proxy
    url = f"{address}/v1/models/styles/translate"
    refused(httpx.post(url, content=b"x" * (9 * 2**20)), 413)
    refused(httpx.get(f"{address}/metrics"), 403)
    refused(httpx.get(f"{address}/livez", headers={"x-large": "x" * 40_000}), 400)
    refused(httpx.get(f"{address}/livez?" + "x" * 40_000), 414)
    assert httpx.get(f"{server}/metrics").status_code == 200
    assert httpx.post(f"{address}/v1/models/pictures/sample", json={"seed": 1}).status_code == 200


def test_the_dashboard_asks_for_the_metrics_that_there_are(artifacts):
    ask = asker(app_of(Settings(artifacts=artifacts, provider="cpu")))
    assert ask("POST", SAMPLE, json={"seed": 1}).status_code == 200
    there: dict[str, set[str]] = {}
    for line in ask("GET", "/metrics").text.splitlines():
        if name := re.match(r"ganzoo_\w+", line):
            there.setdefault(name[0], {"namespace"}).update(re.findall(r'(\w+)="', line))
    board = json.loads((Path(__file__).parents[1] / "deploy" / "grafana.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked: set[str] = set()
    for query in queries:
        for name, labels in re.findall(r"(ganzoo_\w+)\{([^}]*)\}", query):
            assert set(re.findall(r"(\w+)=", labels.replace("=~", "="))) <= there[name], query
            asked.add(name)
        groups = re.findall(r"by \(([\w, ]+)\)", query)
        names = re.findall(r"ganzoo_\w+", query)
        assert all(set(group.split(", ")) <= there[name] for group in groups for name in names), query
        assert query.count("(") == query.count(")")
    families = {re.sub(r"_(total|bucket|sum|count|created)$", "", name) for name in there}
    shown = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in asked}
    assert families - shown <= {"ganzoo_reloads"}, "every metric is shown but that of events"
