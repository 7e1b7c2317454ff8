"""Spans of a pull across servers, at a receiver of OTLP that decodes what it is sent."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.functional.conftest import Serve
from tests.functional.programs import wait_until
from tests.functional.server import Options, Server
from tests.functional.wire import Wire
from tests.images import noise

APP = "admin/app"


@dataclass(frozen=True)
class Span:
    """What was told of one."""

    name: str
    trace: bytes
    number: bytes
    parent: bytes
    service: str
    server: str
    attributes: dict[str, str] = field(hash=False)


class Collector:
    """Who is sent spans."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def take(self, path: str, body: bytes) -> None:
        """Keep the spans of a request."""
        assert path == "/v1/traces"
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = told(of_resource.resource.attributes)
            self.spans += [
                Span(
                    span.name,
                    span.trace_id,
                    span.span_id,
                    span.parent_span_id,
                    about["service.name"],
                    about["service.instance.id"],
                    told(span.attributes),
                )
                for of_scope in of_resource.scope_spans
                for span in of_scope.spans
            ]

    def named(self, name: str) -> list[Span]:
        """Return those of that name."""
        return [span for span in self.spans if span.name == name]

    def close(self) -> None:
        """Take no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def told(attributes: Any) -> dict[str, str]:
    return {each.key: each.value.string_value or str(each.value.int_value) for each in attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


def options(url: str, collector: Collector, *, no_store: bool) -> Options:
    variables = (
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    )
    return Options(workers=1, database=url, no_store=no_store, variables=variables)


def server_of(server: Server, name: str) -> str:
    (found,) = [each for each in server.status()["servers"] if each["address"].endswith(f":{name}")]
    return str(found["server_id"])


def test_a_pull_through_a_gateway_is_one_trace(
    serve: Serve, postgres_url: str, collector: Collector
) -> None:
    """The client's own span above it, then the request, the question to a peer, and its answer."""
    store = serve(options(postgres_url, collector, no_store=False))
    gateway = serve(options(postgres_url, collector, no_store=True))
    data = noise(300_000)
    wire = Wire(gateway, gateway.admin_account)
    digest = wire.push_blob(APP, data)
    client = "0af7651916cd43dd8448eb211c80319c"
    path = f"/v2/{APP}/blobs/{digest}"
    headers = {"traceparent": f"00-{client}-b7ad6b7169203331-01", "X-Request-Id": "the pull"}
    assert wire.request("GET", path, headers=headers).body == data

    def ours() -> list[Span]:
        return [s for s in collector.spans if s.trace.hex() == client]

    names = ["GET blob", "peer get", "peer get"]
    wait_until(
        "all is told",
        lambda: names == sorted({s.number: s.name for s in ours() if s.name in names}.values()),
    )
    pulls = ours()
    (pull,) = [s for s in pulls if s.name == "GET blob"]
    peers = [s for s in pulls if s.name == "peer get"]
    asked, answered = sorted(peers, key=lambda s: s.parent != pull.number)
    assert pull.parent.hex() == "b7ad6b7169203331"
    assert (asked.parent, answered.parent) == (pull.number, asked.number)
    here, there = server_of(gateway, str(gateway.port)), server_of(store, str(store.port))
    assert (pull.server, asked.server, answered.server) == (here, here, there)
    assert {s.service for s in pulls} == {"treescale"}
    assert pull.attributes["treescale.request_id"] == "the pull"
    assert pull.attributes["http.response.status_code"] == "200"
    assert asked.attributes["treescale.peer"] == there
    pushes = {s.trace for s in collector.named("POST uploads")}
    assert pushes & {s.trace for s in collector.named("database write")}
    roots = {s.name for s in collector.spans if not s.parent}
    assert not {name for name in roots if name.startswith(("database", "peer"))}, "only requests"


def test_a_collector_that_is_away_holds_up_nobody(serve: Serve, collector: Collector) -> None:
    url = collector.url
    variables = (("OTEL_EXPORTER_OTLP_ENDPOINT", url.rpartition(":")[0] + ":9"),)
    server = serve(Options(workers=1, variables=variables))
    Wire(server, server.admin_account).push_blob(APP, noise(100_000))
    assert server.stop(seconds=15) == 0
    assert collector.spans == []
