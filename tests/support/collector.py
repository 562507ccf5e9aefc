"""A collector of traces that speaks OTLP over HTTP, and keeps what it is sent."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue


class CollectedSpan(NamedTuple):
    """A span as it came."""

    service: str
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, object]
    links: list[str]
    """The ids of the spans that it is linked to."""
    events: int
    failed: bool


class Collector:
    """The server. `answering` can be cleared to have it take requests and answer none."""

    def __init__(self) -> None:
        self.spans: list[CollectedSpan] = []
        self.bodies: list[bytes] = []
        self.answering = threading.Event()
        self.answering.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers["Content-Encoding"] == "gzip":
                    body = gzip.decompress(body)
                collector.answering.wait(60)
                collector.bodies.append(body)
                collector.spans.extend(_spans(body))
                self.send_response(200 if self.path == "/v1/traces" else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def named(self, name: str, trace_id: str | None = None) -> list[CollectedSpan]:
        """The spans of this name, in one trace or in any."""
        return [span for span in self.spans if span.name == name and trace_id in (None, span.trace_id)]

    def stop(self) -> None:
        """Stop serving."""
        self.answering.set()
        self._server.shutdown()
        self._server.server_close()


def _spans(body: bytes) -> list[CollectedSpan]:
    request = ExportTraceServiceRequest.FromString(body)
    return [
        CollectedSpan(
            service=next(str(_value(each.value)) for each in group.resource.attributes if each.key == "service.name"),
            name=span.name,
            kind=span.kind,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            attributes={each.key: _value(each.value) for each in span.attributes},
            links=[link.span_id.hex() for link in span.links],
            events=len(span.events),
            failed=span.status.code == span.status.STATUS_CODE_ERROR,
        )
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


def _value(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return None if kind is None else getattr(value, kind)
