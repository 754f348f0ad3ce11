"""Short versions of the trials; those that take minutes and need an idle machine are marked long."""

import signal

import pytest

from serving.settings import Settings
from tests.reliability import soak, workers
from tests.reliability.conformance import conform
from tests.reliability.drains import DRAIN, drain
from tests.reliability.fuzz import fuzz
from tests.reliability.paths import wander
from tests.reliability.poison import NEIGHBOURS, Careless, hit
from tests.reliability.servers import naive, ours
from tests.reliability.swaps import swap


def test_bad_requests_fail_nothing(artifacts, tmp_path):
    with ours(Settings(artifacts=artifacts), tmp_path / "log") as (url, _):
        found = fuzz(url, 700, seed=1)
    assert found.failed == []
    assert found.slowest < 5, "the limit is above SLOW, because the machine may be busy"
    with naive(Settings(artifacts=artifacts), tmp_path / "naive") as (url, _):
        assert fuzz(url, 100, seed=1).failed, "the control"


@pytest.mark.slow
def test_every_answer_is_one_that_the_description_has(artifacts, tmp_path):
    with ours(Settings(artifacts=artifacts), tmp_path / "log") as (url, _):
        found = conform(f"{url}/docs.json", url, tmp_path / "ours.json", 10)
        assert (found.failed, found.cases > 300) == (0, True), found.said
        with naive(Settings(artifacts=artifacts), tmp_path / "naive") as (other, _):
            assert conform(f"{url}/docs.json", other, tmp_path / "naive.json", 2).failed, "the control"


def test_unknown_paths_leave_no_trace_but_a_line(artifacts, tmp_path):
    found = wander(Settings(artifacts=artifacts), tmp_path / "log", 200)
    assert (found.series, found.unmatched, found.forged) == (0, 0, 0)
    assert found.lines >= 200
    assert found.forgeries > 0, "the control"


def test_neighbours_of_poison_are_not_hit(artifacts):
    assert hit(artifacts / "pictures", 40) == (pytest.approx(80, abs=40), 0)
    assert hit(artifacts / "pictures", 40, Careless)[1] > NEIGHBOURS, "the control"


@pytest.mark.slow
def test_a_server_that_is_told_to_end_answers_what_it_has_taken(artifacts, tmp_path):
    ended = drain(
        Settings(artifacts=artifacts, drain=DRAIN, max_queue_seconds=60), tmp_path / "log", signal.SIGTERM
    )
    assert (ended.lost, ended.told, ended.status) == (0, True, 0)
    assert ended.answered > 0
    killed = drain(Settings(artifacts=artifacts), tmp_path / "killed", signal.SIGKILL)
    assert killed.lost > 0, "the control"


def test_artifacts_are_exchanged_without_an_error(artifacts, tmp_path):
    found = swap(artifacts, tmp_path, 12)
    assert (found.errors, found.mixtures) == (0, 0)
    assert found.confusions > 0, "the control"


@pytest.mark.long
@pytest.mark.parametrize("trial", [soak.soak, workers.workers])
def test_what_takes_minutes(trial, artifacts, tmp_path):
    found = trial(artifacts, tmp_path, False)
    assert found.kept, found
