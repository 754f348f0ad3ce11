"""Prometheus metrics of requests, batches and models.

The number of series depends on the number of models, not on what clients send. With several worker
processes, each writes its metrics to the folder PROMETHEUS_MULTIPROC_DIR, which BentoML sets, and each
reports the sum.
"""

import functools
import os
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

SHARED = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)

REQUESTS = Counter("ganzoo_requests", "Requests answered", ["route", "model", "status"])
REQUEST_SECONDS = Histogram(
    "ganzoo_request_seconds", "Seconds from a request to the end of its response", ["route"], buckets=SECONDS
)
BATCH_ROWS = Histogram("ganzoo_batch_rows", "Rows per batch", ["model", "graph"], buckets=ROWS)
ENGINE_SECONDS = Histogram(
    "ganzoo_engine_seconds", "Seconds per batch in the engine", ["model", "graph"], buckets=SECONDS
)
QUEUE_ROWS = Gauge(
    "ganzoo_queue_rows", "Rows waiting for the engine", ["model", "graph"], multiprocess_mode="livesum"
)
MODELS = Gauge("ganzoo_models", "Served models", multiprocess_mode="livemax")
RELOADS = Counter("ganzoo_reloads", "Artifacts loaded, or rejected, by the server", ["outcome"])


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
    """Return all metrics in Prometheus's text format, and its media type."""
    registry: CollectorRegistry = REGISTRY
    if SHARED in os.environ:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST


def drop_dead_processes() -> None:
    """Remove the gauges of dead processes from the sums."""
    if SHARED not in os.environ:
        return
    for file in Path(os.environ[SHARED]).glob("gauge_live*_*.db"):
        process = file.stem.rpartition("_")[2]
        if not Path("/proc", process).exists() and Path("/proc").is_dir():
            multiprocess.mark_process_dead(int(process))  # type: ignore[no-untyped-call]
