"""Metrics of several worker processes: each writes its own to a file, and reports the sum of all files.

The files are written as a whole, once a second. A full disk therefore costs metrics, and never the server: a
mapped file, as Prometheus's client uses, would end the process.
"""

import atexit
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

logger = logging.getLogger("ganzoo")

FOLDER = "_GANZOO_METRICS"
"""Environment variable with the folder of this server's metrics, which its workers inherit."""

EVERY = 1.0
"""Seconds between two writes of a worker's metrics."""

Files = Iterable[tuple[str, bool]]
"""Metrics as text, and whether the worker that wrote them is alive."""


def make_folder() -> None:
    """Make a folder for the metrics of this server's workers, and remove it when this process ends."""
    try:
        folder = tempfile.mkdtemp(prefix="ganzoo-metrics-")
    except OSError as error:
        logger.warning("there is no folder for metrics, so each worker reports its own only: %s", error)
        return
    os.environ[FOLDER] = folder
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


class SharedMetrics:
    """The metrics of this worker and of the others.

    Args:
        folder: the folder of the workers' files.
        own: the metrics of this process.
        maxima: metrics of which the workers' maximum is reported, in place of the sum.
    """

    def __init__(self, folder: Path, own: CollectorRegistry, maxima: Iterable[str]) -> None:
        self._folder, self._own, self._maxima = folder, own, frozenset(maxima)
        self._file, self._failed = folder / f"{os.getpid()}.prom", False

    def keep_written(self, stop: threading.Event) -> None:
        """Write this worker's metrics every second until the event is set, and once more then."""
        while not stop.wait(EVERY):
            self.write()
        self.write()

    def write(self) -> None:
        """Write this worker's metrics; if that fails, they are lost, and the first failure is logged."""
        partial = self._file.with_suffix(".partial")
        try:
            partial.write_bytes(generate_latest(self._own))
            partial.replace(self._file)
            self._failed = False
        except OSError as error:
            if not self._failed:
                logger.warning(
                    "metrics are not shared with other workers until they can be written: %s", error
                )
            self._failed = True

    def report(self) -> bytes:
        """Return the metrics of all workers, in Prometheus's text format."""
        registry = CollectorRegistry()
        registry.register(_Sum([(generate_latest(self._own).decode(), True), *self._others()], self._maxima))
        return generate_latest(registry)

    def _others(self) -> Iterator[tuple[str, bool]]:
        for file in sorted(self._folder.glob("*.prom")):
            if file != self._file:
                try:
                    yield file.read_text(encoding="utf-8"), _is_alive(int(file.stem))
                except (OSError, ValueError):  # it is being replaced, or was cut
                    continue


class _Sum:
    """A collector of the sums of several workers' metrics; gauges count while their worker is alive."""

    def __init__(self, files: Files, maxima: frozenset[str]) -> None:
        self._files, self._maxima = files, maxima

    def collect(self) -> Iterator[Metric]:
        """Yield the families of metrics."""
        families: dict[str, Metric] = {}
        values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
        for text, alive in self._files:
            for family in text_string_to_metric_families(text):
                if family.type == "gauge" and not alive:
                    continue
                families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                found = values.setdefault(family.name, {})
                for sample in family.samples:
                    key = sample.name, tuple(sample.labels.items())
                    both = found.get(key, 0.0), sample.value
                    found[key] = max(both) if family.name in self._maxima else sum(both)
        for name, family in families.items():
            for (sample_name, labels), value in values[name].items():
                family.add_sample(sample_name, dict(labels), value)
            yield family


def _is_alive(process: int) -> bool:
    """Return whether a process of this user is alive."""
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True
