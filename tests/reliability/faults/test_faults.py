"""Short versions of the trials of faults, each with its control."""

import pytest

from serving.settings import Settings
from tests.reliability.faults import commands, idle_readers
from tests.reliability.faults.endings import Ended
from tests.reliability.faults.full_disk import fill, fill_control
from tests.reliability.faults.late_comers import stop
from tests.reliability.faults.memory import QUEUE, SAMPLES, press_control, press_ours
from tests.reliability.faults.own_metrics import run_two, run_two_with_one_folder
from tests.reliability.faults.unread_log import MANY, ignore_log, ignore_log_of_control
from tests.reliability.servers import naive, ours

MANY_SMALL = 2**15
"""Images of the tests' artifacts that are more than the system holds for a client."""

LITTLE = 2**20
"""Bytes of address space that are too few for the tests' artifacts, which are small."""


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "early"), [(1, False), (2, True)])
def test_a_full_disk_fails_no_request(workers, early, artifacts, tmp_path):
    found = fill(artifacts, tmp_path, workers, 30, early)
    assert found.is_weathered, found


def test_mapped_metrics_do_not_bear_a_full_disk(artifacts, tmp_path):
    control = fill_control(artifacts, tmp_path, 1000)
    assert not control.is_weathered
    assert control.answers.answered > 0


@pytest.mark.slow
def test_servers_count_their_own_requests(artifacts, tmp_path):
    found = run_two(Settings(artifacts=artifacts), tmp_path)
    assert found.is_kept_apart, found
    (tmp_path / "together").mkdir()
    assert not run_two_with_one_folder(Settings(artifacts=artifacts), tmp_path / "together").is_kept_apart


@pytest.mark.slow
def test_a_log_that_nobody_reads_stops_nothing(artifacts, tmp_path):
    found = ignore_log(Settings(artifacts=artifacts), tmp_path / "log", 2)
    assert (found.lost, found.status) == (0, 0), found
    assert found.is_counted, found
    assert ignore_log_of_control(Settings(artifacts=artifacts), tmp_path / "control") < MANY


@pytest.mark.slow
def test_want_of_memory_refuses_what_is_large_and_nothing_else(artifacts, tmp_path):
    settings = Settings(artifacts=artifacts, max_queue_seconds=QUEUE)
    found = press_ours(settings, tmp_path / "log", 3, SAMPLES, LITTLE)
    assert (found.is_weathered, found.is_short) == (True, True), found
    assert not press_control(settings, tmp_path / "control", 2).is_recovered


@pytest.mark.slow
def test_late_comers_are_told_and_hold_up_nothing(artifacts, tmp_path):
    found = stop(ours, Settings(artifacts=artifacts, drain=0.5), tmp_path / "log", 30)
    assert found.is_weathered, found
    assert not stop(naive, Settings(artifacts=artifacts), tmp_path / "control", 4).is_weathered


@pytest.mark.slow
def test_who_takes_nothing_holds_up_no_end(artifacts, tmp_path):
    found = idle_readers.stop(ours, artifacts, tmp_path / "log", 30, MANY_SMALL)
    assert found.is_weathered, found
    assert idle_readers.stop(naive, artifacts, tmp_path / "control", 5, MANY_SMALL).status is None


def test_a_server_that_cannot_be_right_is_not_started(artifacts):
    commands.serve_wrongly(found := Ended(), artifacts)
    assert found.said == []
    assert found.count > 100


@pytest.mark.slow
def test_commands_end_with_one_line(artifacts, tmp_path):
    commands.build(artifacts, place := tmp_path / "place")
    assert commands.run_ours(artifacts, place, 40, 3).said == []
    control = commands.run_carelessly(place, 10)
    assert 2 * control.faults["with a traceback"] > control.count
