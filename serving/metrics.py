"""Prometheus metrics of requests, batches and models.

The number of series depends on the number of models, not on what clients send. They are kept in memory; with
several worker processes, `serving.shared_metrics` adds them up.
"""

import functools
import os
import threading
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from serving.shared_metrics import FOLDER, SharedMetrics

disable_created_metrics()  # type: ignore[no-untyped-call]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)

REGISTRY = CollectorRegistry()

REQUESTS = Counter("ganzoo_requests", "Requests answered", ["route", "model", "status"], registry=REGISTRY)
REQUEST_SECONDS = Histogram(
    "ganzoo_request_seconds",
    "Seconds from a request to the end of its response",
    ["route"],
    buckets=SECONDS,
    registry=REGISTRY,
)
BATCH_ROWS = Histogram(
    "ganzoo_batch_rows", "Rows per batch", ["model", "graph"], buckets=ROWS, registry=REGISTRY
)
ENGINE_SECONDS = Histogram(
    "ganzoo_engine_seconds",
    "Seconds per batch in the engine",
    ["model", "graph"],
    buckets=SECONDS,
    registry=REGISTRY,
)
QUEUE_ROWS = Gauge("ganzoo_queue_rows", "Rows waiting for the engine", ["model", "graph"], registry=REGISTRY)
MODELS = Gauge("ganzoo_models", "Served models", registry=REGISTRY)
REFUSED = Gauge(
    "ganzoo_refused_artifacts", "Artifacts whose present files can't be served", registry=REGISTRY
)
RELOADS = Counter(
    "ganzoo_reloads", "Artifacts loaded, or rejected, by the server", ["outcome"], registry=REGISTRY
)
CACHE_HITS = Counter("ganzoo_cache_hits", "Requests answered from memory", registry=REGISTRY)
CACHE_MISSES = Counter(
    "ganzoo_cache_misses", "Answers that could be kept in memory and were not there", registry=REGISTRY
)
CACHE_BYTES = Gauge("ganzoo_cache_bytes", "Size of the answers in memory", registry=REGISTRY)
LOST_LINES = Counter(
    "ganzoo_log_lines_lost", "Lines of the log that were dropped because nobody read them", registry=REGISTRY
)

MAXIMA = ("ganzoo_models", "ganzoo_refused_artifacts")
"""Metrics that each worker counts alike."""

_shared: SharedMetrics | None = None


def share(stop: threading.Event) -> None:
    """Share the metrics with the server's other workers, if there are others, until the event is set."""
    global _shared
    if FOLDER in os.environ:
        _shared = SharedMetrics(Path(os.environ[FOLDER]), REGISTRY, MAXIMA)
        threading.Thread(target=_shared.keep_written, args=(stop,), name="metrics", daemon=True).start()


@functools.lru_cache(4096)
def _series(route: str, model: str, status: int) -> tuple[Counter, Histogram]:
    """Return the series of a request; the cache is faster than the lookup of Prometheus's client."""
    return REQUESTS.labels(route, model, status), REQUEST_SECONDS.labels(route)


def count_request(route: str, model: str, status: int, seconds: float) -> None:
    """Count a completed request and record its duration in seconds."""
    requests, times = _series(route, model, status)
    requests.inc()
    times.observe(seconds)


def report() -> tuple[bytes, str]:
    """Return the metrics of all workers in Prometheus's text format, and its media type."""
    return generate_latest(REGISTRY) if _shared is None else _shared.report(), CONTENT_TYPE_LATEST
