"""Metrics of several workers, added up from their files; what can't be written is lost, and nothing else."""

import logging
import subprocess
import sys

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values

from serving import metrics
from serving.shared_metrics import SharedMetrics


def registry(count: int, models: int, waiting: int) -> CollectorRegistry:
    own = CollectorRegistry()
    Counter("requests", "Requests", ["route"], registry=own).labels('a"\\b').inc(count)
    Histogram("seconds", "Seconds", buckets=(1, 2), registry=own).observe(count)
    Gauge("models", "Models", registry=own).set(models)
    Gauge("waiting", "Waiting", registry=own).set(waiting)
    return own


def test_workers_are_added_up_and_the_dead_no_longer_wait(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    for process, numbers in ((other.pid, (2, 5, 3)), (2**22 + 1, (10, 9, 7))):
        shared = SharedMetrics(tmp_path, registry(*numbers), ["models"])
        shared._file = tmp_path / f"{process}.prom"
        shared.write()
    own = SharedMetrics(tmp_path, registry(1, 5, 1), ["models"])
    own.write()
    try:
        lines = own.report().decode().splitlines()
    finally:
        other.communicate()
    assert 'requests_total{route="a\\"\\\\b"} 13.0' in lines
    assert "models 5.0" in lines
    assert "waiting 4.0" in lines
    assert 'seconds_bucket{le="2.0"} 2.0' in lines
    assert "seconds_count 3.0" in lines


def test_what_can_not_be_written_is_said_once_and_lost(tmp_path, caplog):
    shared = SharedMetrics(tmp_path / "gone", registry(1, 1, 1), [])
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            shared.write()
    assert len(caplog.records) == 1
    assert "models 1.0" in shared.report().decode()


def test_damaged_files_of_others_are_left_out(tmp_path):
    (tmp_path / "x.prom").write_text("no process")
    (tmp_path / "7.prom").write_bytes(b"\xff\xfe")
    assert "models 1.0" in SharedMetrics(tmp_path, registry(1, 1, 1), []).report().decode()


def test_metrics_are_in_memory():
    assert values.ValueClass is values.MutexValue
    assert isinstance(metrics.MODELS._value, values.MutexValue)
