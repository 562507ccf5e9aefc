"""Thinking is paid for, and once."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.generation import usage
from core.generation.usage import shown, with_thinking
from core.limits.rate import SECOND, Rate
from core.limits.rate_limit import Bucket
from core.llm.providers import openai_compatible  # noqa: F401  half a second that no first token should wait for
from core.llm.providers.base import Turn, Usage
from core.runtime import Runtime
from tests.core.generation.asking import Asked, ask, wait_for_thoughts
from tests.support.provider import ANSWER, HALF, THOUGHT, Handler, ProviderServer
from tests.support.waiting import wait_for

BUDGET = Rate(1000, 86_400 * SECOND, 1000)
ASKED = usage.prompt([Turn("system", "Be kind."), Turn("user", "Why?")])


def _runtime(settings: Any, database_url: str) -> Runtime:
    limited = {"limit_tokens_anonymous": BUDGET, "limit_tokens_user": BUDGET}
    return Runtime(settings.model_copy(update={**limited, "configured_database_url": database_url}))


@pytest.fixture
def runtime(settings: Any, any_database_url: str) -> Iterator[Runtime]:
    """A process with small budgets, once on SQLite and once on PostgreSQL."""
    parts = _runtime(settings, any_database_url)
    yield parts
    parts.close()


def _share_of(completion: int, thinking: str) -> int:
    """The tokens that are taken for thinking, of those that a provider has counted for it and the answer."""
    thought = usage.tokens(thinking)
    return round(completion * thought / (thought + usage.tokens(ANSWER)))


def _charged(asked: Asked) -> Usage:
    """What the answer counts for, which the row, the budget, the event and the invariants agree about."""
    row = asked.row()
    counted = Usage(row.prompt_tokens or 0, row.completion_tokens or 0, row.reasoning_tokens or 0)
    owner = asked.session.owner_id or asked.session.id
    bucket = Bucket("tokens", str(owner), BUDGET, durable=not asked.session.anonymous)
    left = asked.runtime.limiter.charge([bucket]).limit_statuses[0].remaining + 1
    assert row.settled_tokens == counted.total == 1000 - left
    kind, data = asked.events()[-1]
    if kind == "done":
        assert data["usage"] == counted._asdict()
    assert [finding for finding in asked.runtime.invariants.check() if finding.ids] == []
    return counted


@pytest.mark.parametrize("owned", [False, True])
def test_the_providers_report_holds_and_its_thinking_is_part_of_it(runtime: Runtime, owned: bool) -> None:
    asked = ask(runtime, "thinks", owned=owned)
    runtime.writer.run()
    assert _charged(asked) == Usage(7, 11, _share_of(11, THOUGHT))


def test_what_was_stopped_in_mid_thinking_is_estimated(runtime: Runtime, provider: ProviderServer) -> None:
    provider.go_on.clear()
    asked = ask(runtime, "thinks-slowly")
    writer = asked.write()
    wait_for_thoughts(asked)
    runtime.generations.stop(asked.session)
    writer.join()
    provider.go_on.set()
    thought = usage.tokens(asked.message().thinking or "")
    assert _charged(asked) == Usage(ASKED, thought, thought)


def test_what_was_stopped_after_it_counts_both_once(runtime: Runtime) -> None:
    asked = ask(runtime, "thinks-then-stalls")
    writer = asked.write()
    wait_for(lambda: len(asked.written().text) == HALF)
    runtime.generations.stop(asked.session)
    writer.join()
    thought = usage.tokens(THOUGHT)
    assert _charged(asked) == Usage(ASKED, thought + usage.tokens(ANSWER[:HALF]), thought)


def test_of_thinking_that_was_begun_again_what_is_kept_counts(runtime: Runtime) -> None:
    asked = ask(runtime, "thinks-then-breaks")
    runtime.writer.run()
    assert asked.message().thinking == THOUGHT
    assert _charged(asked) == Usage(ASKED, usage.tokens(THOUGHT), usage.tokens(THOUGHT))


def test_an_answer_that_two_requests_have_written_counts_the_thinking_of_both(runtime: Runtime) -> None:
    asked = ask(runtime, "thinks-then-stalls")
    runtime.writer.run()
    message = asked.message()
    assert (message.text, message.thinking) == (ANSWER, THOUGHT + "Again.")
    thought = usage.tokens(THOUGHT + "Again.")
    assert _charged(asked) == Usage(ASKED, thought + usage.tokens(ANSWER), thought)


def test_a_failure_before_any_word_or_thought_costs_nothing(runtime: Runtime) -> None:
    asked = ask(runtime, "broken")
    runtime.writer.run()
    assert _charged(asked) == Usage(0, 0, 0)


@pytest.mark.parametrize(("reported", "kept"), [(4, 4), (11, 11), (12, None), (-1, None), ("4", None), (None, None)])
def test_what_a_provider_says_about_its_thinking_holds_if_it_can_be(
    settings: Any, database_url: str, tmp_path: Any, reported: Any, kept: int | None
) -> None:
    def reports(handler: Handler) -> None:
        handler.begin()
        handler.think("Hmm, let me see. ")
        handler.chunk(ANSWER)
        details = {"reasoning_tokens": reported}
        counted = {"prompt_tokens": 7, "completion_tokens": 11, "completion_tokens_details": details}
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": counted}
        handler.say(handler.dialect.event(json.dumps(end)))
        handler.say(handler.dialect.event("[DONE]"))

    server = ProviderServer({"thinks": reports})
    (tmp_path / "models.toml").write_text(server.models_toml())
    parts = _runtime(settings, database_url)
    asked = ask(parts, "thinks")
    parts.writer.run()
    estimated = _share_of(11, "Hmm, let me see. ")
    assert _charged(asked) == Usage(7, 11, estimated if kept is None else kept)
    parts.close()
    server.stop()


@pytest.mark.parametrize("prompt", [0, 15_000_000])
def test_a_report_that_can_not_be_is_neither_a_free_answer_nor_a_dear_one(
    settings: Any, database_url: str, tmp_path: Any, prompt: int
) -> None:
    def reports(handler: Handler) -> None:
        handler.begin()
        handler.chunk(ANSWER)
        counted = {"prompt_tokens": prompt, "completion_tokens": 0 if prompt == 0 else 11}
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": counted}
        handler.say(handler.dialect.event(json.dumps(end)))
        handler.say(handler.dialect.event("[DONE]"))

    server = ProviderServer({"good": reports})
    (tmp_path / "models.toml").write_text(server.models_toml())
    parts = _runtime(settings, database_url)
    asked = ask(parts, "good")
    parts.writer.run()
    assert _charged(asked) == Usage(ASKED, 11 if prompt else usage.tokens(ANSWER), 0)
    parts.close()
    server.stop()


def test_a_message_reserves_the_room_to_think_too(settings: Any, provider: ProviderServer, tmp_path: Any) -> None:
    tables = provider.models_toml().replace("[models.thinks]\n", "[models.thinks]\nthinking_budget = 50\n")
    (tmp_path / "models.toml").write_text(tables)
    runtime = _runtime(settings, settings.database_url)
    session = ask(runtime, "thinks").session
    assert 1000 - _left(runtime, str(session.id)) == 1 + 100 + 50
    other = ask(runtime, "good").session
    assert 1000 - _left(runtime, str(other.id)) == 1 + 100
    runtime.close()


def _left(runtime: Runtime, owner: str) -> int:
    return runtime.limiter.charge([Bucket("tokens", owner, BUDGET)]).limit_statuses[0].remaining + 1


def test_an_end_that_is_settled_late_is_charged_the_same(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ask(runtime, "thinks")

    def away(*_: object, **__: object) -> None:
        raise threading.BrokenBarrierError

    with monkeypatch.context() as patch, pytest.raises(threading.BrokenBarrierError):
        patch.setattr(runtime.message_limits, "settle", away)
        runtime.writer.run()
    for _ in range(2):
        runtime.finalizer.publish(asked.generation_id)
    assert _charged(asked) == Usage(7, 11, _share_of(11, THOUGHT))


@given(st.text(max_size=40), st.text(max_size=40), st.integers(0, 100), st.integers(0, 100), st.integers(0, 100))
def test_thinking_is_never_more_than_all_that_was_written(
    text: str, thinking: str, prompt: int, completion: int, reasoning: int
) -> None:
    reported = Usage(prompt, completion, min(reasoning, completion))
    for counted in (shown(prompt, text, thinking), with_thinking(reported, text, thinking)):
        assert 0 <= counted.reasoning_tokens <= counted.completion_tokens
        assert counted.total == counted.prompt_tokens + counted.completion_tokens
    assert shown(prompt, "", "") == Usage(prompt, 0, 0)
