"""Traces of requests by OpenTelemetry, exported as the standard OTEL_ variables say; off without them.

Spans are made when a request is over, from the times of its stages, so that no stage waits for them.
"""

import os
import time
from collections.abc import Mapping
from typing import Any

from serving.errors import UserError
from serving.system.stopwatch import STOPWATCH, Lap, Stopwatch
from serving.system.version import version

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
PROTOCOL = "http/protobuf"
"""The transport of OTLP that is supported, which is also the default of the standard."""


class Tracing:
    """Makes a span of each request, and within it spans of its stages.

    Args:
        exporter: exporter of the spans.
    """

    def __init__(self, exporter: Any) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        said = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in said
        resource = Resource.create({} if named else {"service.name": "ganzoo"})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("ganzoo", version())

    def record(
        self, scope: Mapping[str, Any], headers: Mapping[str, str], request: str, status: int, since: float
    ) -> None:
        """Record a request that is over.

        A trace of the client goes on by its header `traceparent`, as the W3C describes it.

        Args:
            scope: the request's scope.
            headers: its headers.
            request: its id.
            status: status of the response.
            since: its start, by `time.perf_counter`.
        """
        from opentelemetry import propagate, trace

        now, offset = time.perf_counter(), time.time_ns() - int(1e9 * time.perf_counter())
        route = getattr(scope.get("endpoint"), "__name__", "other")
        about = {
            "http.request.method": scope["method"],
            "http.response.status_code": status,
            "url.path": scope["path"],
            "http.route": route,
            "ganzoo.request_id": request,
        }
        if model := scope.get("model"):
            about["ganzoo.model"] = model
        span = self._tracer.start_span(
            f"{scope['method']} {route}",
            propagate.extract(headers),
            trace.SpanKind.SERVER,
            about,
            start_time=offset + int(1e9 * since),
        )
        if span.is_recording():
            stopwatch: Stopwatch = scope.get(STOPWATCH) or Stopwatch()
            # The stage `engine` is the waiting and the batch, which are in the details.
            for lap in [lap for lap in stopwatch.laps if lap.name != "engine"] + stopwatch.details:
                self._part(lap, trace.set_span_in_context(span), offset, model or "")
        if status >= 500:
            span.set_status(trace.StatusCode.ERROR)
        span.end(offset + int(1e9 * now))

    def _part(self, lap: Lap, context: Any, offset: int, model: str) -> None:
        about: dict[str, str | int] = {"ganzoo.model": model}
        if lap.rows:
            about["ganzoo.rows"] = lap.rows
        begin, end = (offset + int(1e9 * second) for second in (lap.start, lap.end))
        self._tracer.start_span(lap.name, context, attributes=about, start_time=begin).end(end)

    def close(self) -> None:
        """Export the spans that are left."""
        self._provider.shutdown()


def tracing_from(environment: Mapping[str, str] = os.environ) -> Tracing | None:
    """Return the tracing that the environment asks for by an endpoint; None if it asks for none.

    Raises:
        UserError: the exporter is not installed, or its transport is not supported.
    """
    is_off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    is_off |= environment.get("OTEL_TRACES_EXPORTER", "otlp") == "none"
    if is_off or not any(environment.get(name) for name in ENDPOINTS):
        return None
    for name in PROTOCOLS:
        if environment.get(name, PROTOCOL) != PROTOCOL:
            raise UserError(f"{name} must be {PROTOCOL}; got {environment[name]}")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        text = "the exporter of traces is not installed; pip install 'gan-zoo[otel]' installs it"
        raise UserError(text) from error
    return Tracing(OTLPSpanExporter())
