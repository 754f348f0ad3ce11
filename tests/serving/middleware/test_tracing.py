"""Traces of a real server's requests, sent to a collector in this process."""

import contextlib
import http.server
import itertools
import threading
import time
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from serving.errors import UserError
from serving.launcher import serving
from serving.middleware.tracing import tracing_from
from serving.settings import Settings

SAMPLE = "/v1/models/pictures/sample"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@contextlib.contextmanager
def collecting():
    """Receive traces as an OTLP collector does; yield its address and the list of what has arrived."""
    received: list[ExportTraceServiceRequest] = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/v1/traces"
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def traced(artifacts: Path, folder: Path, monkeypatch, ask, **variables: str) -> tuple[dict, list, list]:
    """Ask a server, and return the resource, its spans, and the responses."""
    with collecting() as (url, received):
        for name, value in {"OTEL_EXPORTER_OTLP_ENDPOINT": url, **variables}.items():
            monkeypatch.setenv(name, value)
        with serving(Settings(artifacts=artifacts, provider="cpu"), folder / "log") as server:
            responses = ask(server)
    spans = [
        span
        for each in received
        for resource in each.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    resources = [resource.resource for each in received for resource in each.resource_spans]
    return attributes(resources[0]) if resources else {}, spans, responses


def attributes(message) -> dict[str, object]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in message.attributes}


def test_a_request_is_a_span_with_its_stages(artifacts, tmp_path, monkeypatch):
    def ask(url: str) -> list[httpx.Response]:
        parent = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        bodies = [{"n": 3, "format": "png"}, {"n": 3, "format": "npy"}]
        first = [httpx.post(url + SAMPLE, json=body, headers=parent) for body in bodies]
        return [*first, httpx.get(f"{url}/v1/models/none")]

    before = time.time_ns()
    resource, spans, responses = traced(artifacts, tmp_path, monkeypatch, ask)
    assert resource["service.name"] == "ganzoo"
    by_id = {attributes(span).get("ganzoo.request_id"): span for span in spans}
    for response in responses[:2]:
        span = by_id[response.headers["x-request-id"]]
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
        assert span.name == "POST sample"
        about = attributes(span)
        assert about["ganzoo.model"] == "pictures"
        assert about["http.response.status_code"] == 200
        assert before < span.start_time_unix_nano < span.end_time_unix_nano < time.time_ns()
        parts = [each for each in spans if each.parent_span_id == span.span_id]
        assert sorted(part.name for part in parts) == ["batch", "encode", "engine", "parse", "queue"]
        named = {part.name: part for part in parts}
        assert attributes(named["batch"])["ganzoo.rows"] == attributes(named["engine"])["ganzoo.rows"] == 3
        ordered = [named[name] for name in ("parse", "queue", "engine", "encode")]
        for one, other in itertools.pairwise(ordered):
            assert one.end_time_unix_nano <= other.start_time_unix_nano + 1_000_000
        for part in parts:
            assert span.start_time_unix_nano <= part.start_time_unix_nano
            assert part.end_time_unix_nano <= span.end_time_unix_nano
    missing = by_id[responses[2].headers["x-request-id"]]
    assert attributes(missing)["http.response.status_code"] == 404
    assert missing.trace_id.hex() != TRACE


def test_the_standard_variables_decide(artifacts, tmp_path, monkeypatch):
    def ask(url: str) -> list[httpx.Response]:
        return [httpx.post(url + SAMPLE, json={"seed": 1}) for _ in range(2)]

    for name, variables in {
        "sampler": {"OTEL_TRACES_SAMPLER": "always_off"},
        "off": {"OTEL_SDK_DISABLED": "true"},
        "none": {"OTEL_TRACES_EXPORTER": "none"},
    }.items():
        (tmp_path / name).mkdir()
        with monkeypatch.context() as patch:
            _, spans, _ = traced(artifacts, tmp_path / name, patch, ask, **variables)
            assert spans == []
    resource, spans, responses = traced(artifacts, tmp_path, monkeypatch, ask, OTEL_SERVICE_NAME="faces")
    assert resource["service.name"] == "faces"
    assert [each.headers["server-timing"][:5] for each in responses] == ["parse", "cache"]
    found = {attributes(span).get("ganzoo.request_id") for span in spans}
    assert {each.headers["x-request-id"] for each in responses} <= found, "answers from memory, too"


def test_without_an_endpoint_there_are_none():
    assert tracing_from({}) is None


def test_another_transport_is_refused():
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with pytest.raises(UserError, match="OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf; got grpc"):
        tracing_from(given)
