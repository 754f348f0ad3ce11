"""Requests that are answered from memory by a real server: which, for whom, and in what forms they arrive."""

import shutil
import socket
import time

import httpx
import pytest

from serving.launcher import serving
from serving.middleware.recall import HOLD_SECONDS
from serving.runtime.artifact import read_manifest
from serving.settings import Settings
from tests.serving.middleware.test_protocol import exchange, logged

SAMPLE, IMAGE = "/v1/models/pictures/sample", "/v1/models/pictures/samples/7.png"
BODY = b'{"seed": 7, "format": "npy"}'
HEAD = b"POST %s HTTP/1.1\r\nHost: zoo\r\nContent-Type: application/json\r\n" % SAMPLE.encode()
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
OWN = {"x-request-id", "server-timing", "date"}


@pytest.fixture(scope="module")
def server(artifacts, tmp_path_factory):
    """A server's address and its log."""
    log = tmp_path_factory.mktemp("server") / "log"
    with serving(Settings(artifacts=artifacts, provider="cpu"), log) as url:
        yield url, log


def from_memory(response: httpx.Response) -> bool:
    assert response.status_code == 200, response.text
    return response.headers["server-timing"].startswith("cache")


def lasting(response: httpx.Response) -> tuple[dict[str, str], bytes]:
    headers = dict(response.headers)
    return {name: value for name, value in headers.items() if name not in OWN}, response.content


def counted(url: str) -> dict[str, float]:
    lines = [line.split() for line in httpx.get(f"{url}/metrics").text.splitlines()]
    return {line[0]: float(line[1]) for line in lines if line[0].startswith("ganzoo_cache")}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (IMAGE, None),
        (f"{IMAGE}?truncation=0.5", None),
        (SAMPLE, {"seed": 3, "n": 4, "format": "zip"}),
        ("/v1/models/classes/sample", {"seed": 3, "label": "B"}),
        ("/v1/models/pictures/interpolate", {"seeds": [1, 2], "n": 3}),
    ],
)
def test_the_second_answer_is_the_first_one(server, path, body):
    url, log = server
    before = counted(url)
    first, second = (httpx.post(url + path, json=body) if body else httpx.get(url + path) for _ in range(2))
    assert (from_memory(first), from_memory(second)) == (False, True)
    assert lasting(first) == lasting(second)
    assert "date" in second.headers
    now = counted(url)
    assert now["ganzoo_cache_hits_total"] - before["ganzoo_cache_hits_total"] == 1
    assert now["ganzoo_cache_misses_total"] - before["ganzoo_cache_misses_total"] == 1
    assert now["ganzoo_cache_bytes"] > len(first.content)
    lines = [logged(log, each.headers["x-request-id"]) for each in (first, second)]
    assert lines[0].keys() == lines[1].keys()
    for name in ("method", "path", "route", "model", "status", "bytes"):
        assert lines[0][name] == lines[1][name]


def test_what_depends_on_more_is_made_anew_each_time(server):
    url, _ = server
    for body in ({"format": "npy"}, {"latents": [[0.0] * 8]}):
        assert not any(from_memory(httpx.post(url + SAMPLE, json=body)) for _ in range(2))
    assert httpx.post(url + SAMPLE, json={"seed": -1}).status_code == 400
    assert httpx.post(url + SAMPLE, json={"seed": -1}).status_code == 400
    httpx.get(url + IMAGE)
    tag = httpx.get(url + IMAGE).headers["etag"]
    unchanged = httpx.get(url + IMAGE, headers={"If-None-Match": tag})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert from_memory(httpx.get(url + IMAGE))
    assert httpx.head(url + IMAGE).content == b""


def test_a_request_may_arrive_in_any_form(server):
    url, _ = server
    status, _, wanted = exchange(url, WHOLE)
    assert status == 200
    place = httpx.URL(url)
    old = WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0")
    forms = {
        "whole": ([WHOLE], True),
        "chunked": ([CHUNKED], False),
        "in two parts": ([WHOLE[:-10], WHOLE[-10:]], True),
        "its body after its headers": ([WHOLE[: -len(BODY)], BODY], True),
        "its body later": ([WHOLE[: -len(BODY)], b"", b"", BODY], False),
        "its headers in two parts": ([WHOLE[:30], WHOLE[30:]], True),
        "of HTTP/1.0": ([old], True),
    }
    for name, (parts, quick) in forms.items():
        with socket.create_connection((place.host, place.port), timeout=10) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for part in parts:
                connection.sendall(part)
                time.sleep(HOLD_SECONDS / 2)
            data = b""
            while len(data.partition(b"\r\n\r\n")[2]) < len(wanted):
                data += connection.recv(2**16)
            assert data.endswith(wanted), name
            assert (b"server-timing: cache" in data) == quick, name
            if name == "of HTTP/1.0":
                assert connection.recv(1) == b""
            else:  # the connection goes on
                connection.sendall(b"GET /livez HTTP/1.1\r\nHost: zoo\r\n\r\n")
                assert connection.recv(2**16).startswith(b"HTTP/1.1 200")


def test_pipelined_requests_are_answered_in_order(server):
    url, _ = server
    exchange(url, WHOLE)
    other = HEAD + b"Content-Length: 11\r\n\r\n" + b'{"seed": %d}' % 9
    place = httpx.URL(url)
    with socket.create_connection((place.host, place.port), timeout=10) as connection:
        connection.sendall(
            WHOLE + other + WHOLE + b"GET /livez HTTP/1.1\r\nHost: zoo\r\nConnection: close\r\n\r\n"
        )
        data = b""
        while more := connection.recv(2**16):
            data += more
    assert data.count(b"HTTP/1.1 200") == 4
    first, second = data.index(b"\x93NUMPY"), data.rindex(b"\x93NUMPY")
    assert first < data.index(b"\x89PNG") < second < data.index(b'"alive"')


def test_answers_are_of_one_key_and_of_a_host(artifacts, tmp_path):
    settings = Settings(artifacts=artifacts, provider="cpu", api_keys="one,two", hosts="zoo.example")
    with serving(settings, tmp_path / "log") as url:

        def ask(key: str, host: str = "zoo.example", **headers: str) -> httpx.Response:
            return httpx.get(url + IMAGE, headers={"X-API-Key": key, "Host": host, **headers})

        assert [from_memory(ask(key)) for key in ("one", "one", "two", "two")] == [False, True, False, True]
        assert from_memory(
            httpx.get(url + IMAGE, headers={"Authorization": "Bearer one", "Host": "zoo.example"})
        )
        assert ask("three").status_code == 401
        assert ask("").status_code == 401
        assert ask("one", "other.example").status_code == 421
        assert ask("one").headers["cache-control"].startswith("private")


def test_pages_may_read_answers_from_memory(artifacts, tmp_path):
    settings = Settings(artifacts=artifacts, provider="cpu", cors_origins="https://a.example")
    with serving(settings, tmp_path / "log") as url:
        for quick in (False, True):
            answer = httpx.get(url + IMAGE, headers={"Origin": "https://a.example"})
            assert from_memory(answer) == quick
            assert answer.headers.get_list("access-control-allow-origin") == ["https://a.example"]
            assert answer.headers.get_list("vary") == ["Origin"]
        other = "/v1/models/pictures/samples/8.png"
        for origin in ({"Origin": "https://b.example"}, {}):
            first = httpx.get(f"{url}{other}?truncation=0.{5 + len(origin)}", headers=origin)
            second = httpx.get(f"{url}{other}?truncation=0.{5 + len(origin)}", headers=origin)
            assert (from_memory(first), from_memory(second)) == (False, True)
            assert lasting(first) == lasting(second)
            assert "access-control-allow-origin" not in second.headers
            assert second.headers["vary"] == "Origin"


def test_another_version_of_a_model_has_answers_of_its_own(artifacts, tmp_path):
    folder = tmp_path / "artifacts"
    shutil.copytree(artifacts / "pictures", folder / "model")
    settings = Settings(artifacts=folder, provider="cpu", reload=0.1)
    path = "/v1/models/model/sample"
    with serving(settings, tmp_path / "log") as url:
        first, second = (httpx.post(url + path, json={"seed": 1}) for _ in range(2))
        assert from_memory(second)
        shutil.copytree(artifacts / "classes", tmp_path / "new")
        shutil.rmtree(folder / "model")
        (tmp_path / "new").rename(folder / "model")
        version = read_manifest(folder / "model").version
        end = time.monotonic() + 20
        while httpx.get(f"{url}/v1/models").json()["models"][0]["version"] != version:
            assert time.monotonic() < end
            time.sleep(0.1)
        third, fourth = (httpx.post(url + path, json={"seed": 1}) for _ in range(2))
        assert (from_memory(third), from_memory(fourth)) == (False, True)
        assert third.headers["x-model-version"] == version
        assert third.content == fourth.content != first.content


def test_without_room_nothing_is_kept(artifacts, tmp_path):
    with serving(Settings(artifacts=artifacts, provider="cpu", cache_bytes=0), tmp_path / "log") as url:
        assert not any(from_memory(httpx.get(url + IMAGE)) for _ in range(3))
        assert counted(url)["ganzoo_cache_hits_total"] == 0
