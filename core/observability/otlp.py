"""Spans by OpenTelemetry, exported by OTLP over HTTP. Its own variables (`OTEL_*`) say where to and how much.

They are sent in the background, from a bounded queue: what a collector that is away does not take is lost.
"""

from collections.abc import Iterable, Mapping
from threading import Thread

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from core.observability.spans import Kind, Span, Value

STOP_TIMEOUT = 1.0
"""Seconds in which a process that stops sends its last spans."""

_KINDS = {
    "internal": trace.SpanKind.INTERNAL,
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
    "producer": trace.SpanKind.PRODUCER,
    "consumer": trace.SpanKind.CONSUMER,
}
_propagator = TraceContextTextMapPropagator()


class OtlpTracer:
    """The spans of one process."""

    def __init__(self, process: str) -> None:
        """`process` is its kind. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come before our own names."""
        resource = Resource.create({SERVICE_NAME: f"switchboard-{process}"}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("switchboard")

    def open(
        self, name: str, kind: Kind, attributes: Mapping[str, Value], parent: str | None, links: Iterable[str]
    ) -> Span:
        """Begin a span."""
        opened = self._tracer.start_span(
            name,
            context=None if parent is None else _context(parent),
            kind=_KINDS[kind],
            attributes=dict(attributes),
            links=[trace.Link(trace.get_current_span(_context(each)).get_span_context()) for each in links],
        )
        return _OtlpSpan(opened)

    def traceparent(self) -> str | None:
        """The current span."""
        carrier: dict[str, str] = {}
        _propagator.inject(carrier)
        return carrier.get("traceparent")

    def stop(self) -> None:
        """Send what there is for a moment; the thread is left behind if that does not suffice."""
        last = Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        last.start()
        last.join(STOP_TIMEOUT)


class _OtlpSpan:
    def __init__(self, opened: trace.Span) -> None:
        self._span = opened
        self._token = context.attach(trace.set_span_in_context(opened))

    def set(self, attributes: Mapping[str, Value | None]) -> None:
        self._span.set_attributes({name: value for name, value in attributes.items() if value is not None})

    def fail(self, kind: str) -> None:
        # By its kind only: the words of an exception may quote people.
        self._span.set_attribute("error.type", kind)
        self._span.set_status(trace.StatusCode.ERROR)

    def leave(self) -> None:
        context.detach(self._token)

    def end(self) -> None:
        self._span.end()


def _context(traceparent: str) -> context.Context:
    return _propagator.extract({"traceparent": traceparent}, context.Context())
