"""Short versions of the trials of attacks."""

import itertools

import pytest

from serving.settings import Settings
from tests.nginx import NGINX, proxying
from tests.reliability.attacks import (
    browsers,
    headers,
    padding,
    proxy,
    servers,
    slow_uploads,
    storms,
    typed_calls,
)
from tests.reliability.servers import naive, ours

LIMIT, FEW = 2**26, 120
"""Limit on all bodies in bytes, and number of unfinished ones, for a short trial."""

SLOWER = 3
"""Minimum ratio of the control's /livez in a storm to ours."""


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("attacks") / "log"


@pytest.fixture(scope="module")
def server(artifacts, log):
    with ours(Settings(artifacts=artifacts), log) as (url, process):
        yield url, process


@pytest.fixture(scope="module")
def careless(artifacts, tmp_path_factory):
    settings, log = headers.settings_of(artifacts), tmp_path_factory.mktemp("careless") / "log"
    with headers.careless(settings, log) as (url, process):
        yield url, process


def test_few_cases_have_every_header():
    tried = b"".join(case.request for case in itertools.islice(headers.cases(1), 200))
    assert [name for name in headers.NAMES if name.encode() not in tried] == []


def test_malformed_headers_get_errors_of_one_shape(artifacts, tmp_path, careless):
    with ours(headers.settings_of(artifacts), log := tmp_path / "log") as (url, _):
        found = headers.fuzz(url, 200, seed=1)
    assert found.failed == []
    assert "Traceback" not in log.read_text(errors="replace")
    assert headers.fuzz(careless[0], 200).kinds[headers.CRASHED] > 0, "the control"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # in BentoML itself
def test_malformed_typed_calls_get_errors_of_one_shape(server, log):
    found = typed_calls.call(server[0], log, 300, seed=1)
    assert (found.faults, found.tracebacks) == ({}, 0)
    assert typed_calls.works(server[0])


@pytest.mark.slow
def test_a_plain_service_fails_at_malformed_typed_calls(artifacts, tmp_path):
    log = tmp_path / "log"
    with servers.by_bentoml(typed_calls.PLAIN, Settings(artifacts=artifacts), log) as (url, _):
        found = typed_calls.call(url, log, 100)
    assert found.faults["with status 5xx"] > 0
    assert found.tracebacks > 0


@pytest.mark.slow
def test_padded_images_leave_time_for_others(artifacts, tmp_path, server):
    """The bounds are above those of the trial, because the machine may be busy."""
    images = padding.padded()
    found = padding.disturb(server[0], images, 4)
    assert max(found.sample, found.live) < 10 * padding.FLOOR
    assert found.is_flooded(4), found.said
    with naive(Settings(artifacts=artifacts), tmp_path / "log") as (url, _):
        assert padding.disturb(url, images, 3).sample > 10 * padding.FLOOR, "the control"


def test_unfinished_uploads_cost_little(artifacts, tmp_path):
    """The bodies are more than the limit on them and the margin together."""
    assert FEW * slow_uploads.PART > LIMIT + slow_uploads.MARGIN
    with ours(Settings(artifacts=artifacts, max_bodies=LIMIT), tmp_path / "log") as server:
        found = slow_uploads.upload(*server, FEW, heads=2)
    assert (found.is_open, found.is_told, found.is_bounded(LIMIT)) == (True, True, True), found


@pytest.mark.slow
def test_unfinished_uploads_cost_a_server_without_limits_more(artifacts, tmp_path):
    with naive(Settings(artifacts=artifacts), tmp_path / "log") as server:
        control = slow_uploads.upload(*server, FEW, heads=1)
    assert (control.is_told, control.is_bounded(LIMIT)) == (False, False), control
    assert control.growth > LIMIT + slow_uploads.MARGIN


@pytest.mark.slow
def test_storms_are_weathered(server, careless):
    """The bound on /livez is relative to the control, because the machine may be slow or busy."""
    found = storms.storm(*server, storms.FILMS, leave=False)
    left = storms.storm(*server, storms.LEAVERS, leave=True)
    control = storms.storm(*careless, storms.FILMS, leave=False)
    forsaken = storms.storm(*careless, storms.LEAVERS, leave=True)
    assert (found.is_weathered, left.is_weathered) == (True, True), (found, left)
    assert SLOWER * found.live < control.live, "the control"
    assert SLOWER * left.live < forsaken.live, "the control"


@pytest.mark.skipif(NGINX is None, reason="there is no nginx")
def test_no_header_poisons_the_cache_of_the_proxy(server, tmp_path):
    with proxying(server[0], tmp_path, {}) as address:
        assert proxy.attack(server[0], address, 40, seed=1) == (40, 0, 40)
    with proxying(server[0], tmp_path, proxy.JOINED) as address:
        assert proxy.attack(server[0], address, 20, seed=2).wrong > 0, "the control"


def test_browsers_are_protected_without_any_setting(artifacts, tmp_path):
    found = browsers.browse_ours(browsers.settings_of(artifacts), tmp_path / "log")
    assert found.said == []


@pytest.mark.slow
def test_browsers_are_protected_with_hosts_origins_and_a_prefix(artifacts, tmp_path):
    found = browsers.browse_ours(browsers.protected(browsers.settings_of(artifacts)), tmp_path / "log")
    assert found.said == []


@pytest.mark.slow
def test_a_plain_app_protects_browsers_from_little(artifacts, tmp_path):
    settings = browsers.protected(browsers.settings_of(artifacts))
    assert browsers.browse_control(settings, tmp_path / "log").is_careless
