"""Traces: spans of what one request sets off, in whichever process. Off unless a process starts them.

OpenTelemetry is imported only then (core/observability/otlp.py): without it each of these functions is a look at one
name. The current span belongs to the context (PEP 567), as log_ids.py has it.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from core.observability.spans import Kind, Span, Tracer, Value

Tracing = Literal["off", "otlp"]

_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
"""https://www.w3.org/TR/trace-context/, version 00."""


class _NoSpan:
    """Where no traces are taken."""

    def set(self, attributes: Mapping[str, Value | None]) -> None: ...
    def fail(self, kind: str) -> None: ...
    def leave(self) -> None: ...
    def end(self) -> None: ...


_NO_SPAN = _NoSpan()
_tracer: Tracer | None = None


def start_tracing(tracing: Tracing, process: str) -> None:
    """Take traces in this process, of this kind, from here on. Raises SystemExit when it lacks what that needs."""
    global _tracer
    if tracing == "off" or _tracer is not None:
        return
    try:
        from core.observability.otlp import OtlpTracer
    except ImportError as error:
        wanted = "pip install 'switchboard[tracing]'"
        raise SystemExit(f"switchboard: SWITCHBOARD_TRACING={tracing}: {error.name} is missing: {wanted}") from None
    _tracer = OtlpTracer(process)


def stop_tracing() -> None:
    """Take no more traces, and send those that there are."""
    global _tracer
    tracer, _tracer = _tracer, None
    if tracer is not None:
        tracer.stop()


def is_tracing() -> bool:
    """Whether traces are taken."""
    return _tracer is not None


def open_span(
    name: str,
    kind: Kind = "internal",
    attributes: Mapping[str, Value] = {},
    *,
    parent: object = None,
    links: object = (),
) -> Span:
    """Begin a span; the caller says when it is left and ends. `parent` and `links` come from other processes: what is
    no traceparent is none."""
    if _tracer is None:
        return _NO_SPAN
    return _tracer.open(name, kind, attributes, _parsed(parent), _all_parsed(links))


@contextmanager
def span(
    name: str,
    kind: Kind = "internal",
    attributes: Mapping[str, Value] = {},
    *,
    parent: object = None,
    links: object = (),
) -> Iterator[Span]:
    """A span of what is done in the block. An exception that leaves it is noted by its kind or class."""
    opened = open_span(name, kind, attributes, parent=parent, links=links)
    try:
        yield opened
    except BaseException as error:
        opened.fail(str(getattr(error, "kind", type(error).__name__)))
        raise
    finally:
        opened.leave()
        opened.end()


def traceparent() -> str | None:
    """The current span as W3C Trace Context writes it; None where no traces are taken, or none is current."""
    return None if _tracer is None else _tracer.traceparent()


def _parsed(value: object) -> str | None:
    return value if isinstance(value, str) and _TRACEPARENT.fullmatch(value) else None


def _all_parsed(values: object) -> list[str]:
    found = map(_parsed, values) if isinstance(values, list | tuple) else ()
    return [each for each in found if each is not None]
