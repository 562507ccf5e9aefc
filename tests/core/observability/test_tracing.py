import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from core.observability import tracing
from tests.support.collector import Collector
from tests.support.waiting import wait_for

WORDS = "sesame opens the door"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    collects = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collects.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    tracing.start_tracing("otlp", "test")
    yield collects
    tracing.stop_tracing()
    collects.stop()


def test_spans_are_nested_and_sent(collector: Collector) -> None:
    with tracing.span("outer") as outer:
        outer.set({"a": 1, "b": None})
        with tracing.span("inner", "client"):
            inner = tracing.traceparent()
    assert tracing.traceparent() is None
    (sent,) = wait_for(lambda: collector.named("inner"), what="it is sent")
    (around,) = wait_for(lambda: collector.named("outer"), what="it is sent")
    assert inner is not None
    assert inner.startswith(f"00-{sent.trace_id}-{sent.span_id}-")
    assert (sent.parent_id, around.parent_id) == (around.span_id, "")
    assert around.attributes == {"a": 1}
    assert sent.service == "switchboard-test"


def test_an_exception_is_noted_without_its_words(collector: Collector) -> None:
    with pytest.raises(ValueError, match="sesame"), tracing.span("failing"):
        raise ValueError(WORDS)
    (sent,) = wait_for(lambda: collector.named("failing"), what="it is sent")
    assert sent.failed
    assert sent.attributes == {"error.type": "ValueError"}
    assert WORDS.encode() not in b"".join(collector.bodies)


def test_a_process_that_stops_sends_its_last_spans(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    tracing.stop_tracing()
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    tracing.start_tracing("otlp", "test")
    with tracing.span("last"):
        pass
    tracing.stop_tracing()
    assert collector.named("last")


def test_a_collector_that_does_not_answer_delays_nothing(collector: Collector) -> None:
    collector.answering.clear()
    began = time.monotonic()
    for _ in range(5000):  # more than the queue holds
        with tracing.span("lost"):
            pass
    tracing.stop_tracing()
    assert time.monotonic() - began < 5


def test_where_none_are_wanted_nothing_is_loaded() -> None:
    script = """
import sys
from core.observability.tracing import span, start_tracing, traceparent
import core.runtime, web.app, workers.task
start_tracing("off", "web")
with span("nothing") as nothing:
    nothing.set({"a": 1})
    assert traceparent() is None
print([name for name in sys.modules if name in ("core.observability.otlp", "opentelemetry.sdk.trace")])
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout == "[]\n"


def test_what_is_missing_is_said_in_one_line() -> None:
    script = """
import sys
sys.modules["opentelemetry"] = None
from core.observability.tracing import start_tracing
start_tracing("otlp", "web")
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1
    assert run.stderr == (
        "switchboard: SWITCHBOARD_TRACING=otlp: opentelemetry is missing: pip install 'switchboard[tracing]'\n"
    )
