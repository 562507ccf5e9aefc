"""One trace from a request over the queue to the provider, as a collector of OTLP gets it from the whole system."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tests.e2e.system import System, running
from tests.support.collector import CollectedSpan, Collector
from tests.support.provider import ProviderServer
from tests.support.waiting import wait_for

WORDS = "canary-words-7d20c4"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CLIENT = "00f067aa0ba902b7"
INTERNAL, SERVER, CALL, PRODUCER, CONSUMER = 1, 2, 3, 4, 5


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collects = Collector()
    yield collects
    collects.stop()


@pytest.fixture(scope="module")
def traced(
    tmp_path_factory: pytest.TempPathFactory, provider: ProviderServer, collector: Collector
) -> Iterator[System]:
    directory = tmp_path_factory.mktemp("traced")
    models = directory / "models.toml"
    told = "[models.good]\nsend_traceparent = true"
    models.write_text(
        provider.models_toml().replace("[models.good]", told).replace("_timeout = 1.0", "_timeout = 20")
    )
    options = {
        "SWITCHBOARD_MODELS": str(models),
        "SWITCHBOARD_TRACING": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with running(directory / "state", **options) as system:
        yield system


def _one(collector: Collector, name: str, trace_id: str = TRACE) -> CollectedSpan:
    (found,) = wait_for(lambda: collector.named(name, trace_id), seconds=20, what=f"the span {name} comes")
    return found


def _ask(system: System, model: str, trace_id: str) -> None:
    with httpx2.Client(base_url=system.base_url, trust_env=False, timeout=30) as guest:
        guest.post("/session/create")
        guest.post("/session/model", json={"model": model})
        traceparent = f"00-{trace_id}-{CLIENT}-01"
        answered = guest.post("/chat/sse", json={"message": WORDS}, headers={"traceparent": traceparent})
        assert "event:done" in answered.text or "event:failed" in answered.text


def test_a_question_is_one_trace_to_its_provider(
    traced: System, provider: ProviderServer, collector: Collector
) -> None:
    provider.requests.clear()
    _ask(traced, "good", TRACE)
    request = _one(collector, "POST /chat/sse")
    send = _one(collector, "send chat.generate")
    process = _one(collector, "process chat.generate")
    write = _one(collector, "write answer")
    call = _one(collector, "chat good")

    chain = [(each.kind, each.parent_id) for each in (request, send, process, write, call)]
    assert chain == [
        (SERVER, CLIENT),
        (PRODUCER, request.span_id),
        (CONSUMER, send.span_id),
        (INTERNAL, request.span_id),
        (CALL, write.span_id),
    ]
    assert [each.service for each in (request, process, call)] == [
        *("switchboard-web", "switchboard-chat", "switchboard-chat")
    ]
    assert write.links == [process.span_id]
    assert request.attributes["http.route"] == "/chat/sse"
    assert request.attributes["http.response.status_code"] == 200
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "good",
        "gen_ai.response.finish_reasons": ["stop"],
    }
    assert expected.items() <= call.attributes.items()
    assert int(str(call.attributes["gen_ai.usage.input_tokens"])) > 0
    assert int(str(call.attributes["gen_ai.usage.output_tokens"])) > 0
    assert [each["traceparent"][:52] for each in provider.requests] == [f"00-{TRACE}-{call.span_id}"]


def test_a_provider_that_fails_is_a_span_that_failed_and_is_not_told_of_it(
    traced: System, provider: ProviderServer, collector: Collector
) -> None:
    trace_id = f"{0xE:032x}"
    provider.requests.clear()
    _ask(traced, "error-in-stream", trace_id)
    name = "chat error-in-stream"
    calls = wait_for(lambda: collector.named(name, trace_id), seconds=20, what="the call comes")
    assert {(call.failed, call.attributes["error.type"]) for call in calls} == {(True, "server-error")}
    assert {each["traceparent"] for each in provider.requests} == {None}


def test_commands_that_travel_together_are_linked(traced: System, collector: Collector) -> None:
    with ThreadPoolExecutor(16) as guests:
        for _ in range(3):
            created = guests.map(
                lambda _: httpx2.post(f"{traced.base_url}/session/create", trust_env=False), range(32)
            )
            assert {each.status_code for each in created} == {201}

    def groups() -> list[CollectedSpan]:
        return [span for span in collector.named("process sessions.create") if len(span.links) > 1]

    linked = {link for span in wait_for(groups, what="a group comes") for link in span.links}
    wait_for(
        lambda: linked <= {span.span_id for span in collector.named("POST /session/create")},
        what="the requests of the groups come",
    )
    # Each greenlet has a context of its own: what one request sends is in no other's trace.
    sent = {span.parent_id: span.trace_id for span in collector.named("send sessions.create")}

    def requests() -> dict[str, str]:
        return {span.span_id: span.trace_id for span in collector.named("POST /session/create")}

    wait_for(lambda: sent.keys() <= requests().keys(), what="the requests that have sent them come")
    assert sent.items() <= requests().items()
    assert len(set(sent.values())) == len(sent)


def test_traces_have_no_words(traced: System, collector: Collector) -> None:
    httpx2.get(f"{traced.base_url}/{WORDS}?q={WORDS}", headers={"User-Agent": WORDS}, trust_env=False)
    wait_for(lambda: collector.named("GET"), what="the request that has no route comes")
    assert len(collector.bodies) > 0
    assert not [body for body in collector.bodies if WORDS.encode() in body]
    assert not [span for span in collector.spans if span.events]


@pytest.mark.parametrize(
    "given", ["", "words", f"00-{TRACE}-{CLIENT}", f"00-{'0' * 32}-{CLIENT}-01", "00-" + "a" * 9000]
)
def test_a_traceparent_that_is_none_changes_nothing(traced: System, given: str) -> None:
    headers = {"traceparent": given}
    assert httpx2.get(f"{traced.base_url}/healthz", headers=headers, trust_env=False).status_code in (200, 431)


def test_a_collector_that_is_silent_delays_neither_requests_nor_the_stop(
    traced: System, collector: Collector
) -> None:
    collector.answering.clear()
    before = len(collector.spans)
    for _ in range(50):
        assert httpx2.get(f"{traced.base_url}/healthz", timeout=2, trust_env=False).status_code == 200
    _ask(traced, "good", f"{0xF:032x}")
    assert len(collector.spans) == before
    assert traced.stop() == 0  # in time: it has ten seconds
    assert "SIGKILL" not in traced.output
