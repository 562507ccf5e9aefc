"""Thinking that is interrupted: by a worker's end, a provider's, a Redis that forgets."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, cast

import pytest

from core.conversation.event_log import Fenced
from core.conversation.keys import keys
from core.llm.providers import openai_compatible  # noqa: F401  half a second that no first token should wait for
from core.runtime import Runtime
from tests.conftest import TurnableClock
from tests.core.generation.asking import Asked, ask, wait_for_thoughts
from tests.support.provider import ANSWER, HALF, THOUGHT, Handler, ProviderServer
from tests.support.waiting import wait_for

owned_or_not = pytest.mark.parametrize("owned", [False, True], ids=["guest", "owned"])
LAPSED = timedelta(seconds=11)


@pytest.fixture
def runtime(settings: Any, any_database_url: str, clock: TurnableClock) -> Iterator[Runtime]:
    """A process whose clock the test turns, once on SQLite and once on PostgreSQL."""
    parts = Runtime(settings.model_copy(update={"configured_database_url": any_database_url}), clock=clock)
    yield parts
    parts.close()


@pytest.fixture
def second(runtime: Runtime, clock: TurnableClock) -> Iterator[Runtime]:
    """Another process."""
    parts = Runtime(runtime.settings, clock=clock)
    yield parts
    parts.close()


def _taken_over(asked: Asked, second: Runtime, clock: TurnableClock) -> None:
    clock.turn(LAPSED)
    assert second.reaper.reap().handed_off == (asked.generation_id,)


@owned_or_not
def test_a_takeover_in_mid_thinking_thinks_again(
    runtime: Runtime, second: Runtime, clock: TurnableClock, provider: ProviderServer, owned: bool
) -> None:
    provider.go_on.clear()
    asked = ask(runtime, "thinks-slowly", owned=owned)
    writer = asked.write()
    wait_for_thoughts(asked, "Hmm...")
    _taken_over(asked, second, clock)
    other = threading.Thread(target=second.writer.run)
    other.start()
    wait_for(lambda: "resumed" in asked.kinds(), what="another worker carries on")
    wait_for_thoughts(asked)
    provider.go_on.set()
    other.join()
    writer.join()

    assert asked.kinds() == ["queued", "started", "resumed", "done"]
    events = asked.events()
    resumed = next(at for at, (kind, _) in enumerate(events) if kind == "resumed")
    assert (events[resumed][1]["at"], events[resumed][1]["thinking"]) == (0, 0)
    assert (events[resumed + 1][0], events[resumed + 1][1]["at"]) == ("thinking", 0)
    message = asked.message()
    assert (message.text, message.state) == (ANSWER, "complete")
    assert (message.thinking or "").count("Hmm") == 1
    assert asked.row().completion_tokens == 11, "one request has written what is kept"


@owned_or_not
def test_a_takeover_after_it_keeps_it(runtime: Runtime, second: Runtime, clock: TurnableClock, owned: bool) -> None:
    asked = ask(runtime, "thinks-then-stalls", owned=owned)
    writer = asked.write()
    wait_for(lambda: len(asked.written().text) == HALF)
    _taken_over(asked, second, clock)
    second.writer.run()
    writer.join()
    resumed = next(data for kind, data in asked.events() if kind == "resumed")
    assert (resumed["at"], resumed["thinking"]) == (HALF, len(THOUGHT))
    message = asked.message()
    assert (message.text, message.thinking, message.state) == (ANSWER, THOUGHT + "Again.", "complete")
    row = asked.row()
    assert 0 < (row.reasoning_tokens or 0) < (row.completion_tokens or 0)
    assert [finding for finding in second.invariants.check() if finding.ids] == []


def test_a_worker_that_hands_on_in_mid_thinking_is_carried_on_at_once(
    runtime: Runtime, second: Runtime, provider: ProviderServer
) -> None:
    provider.go_on.clear()
    asked = ask(runtime, "thinks-slowly")
    writer = asked.write()
    wait_for_thoughts(asked)
    runtime.writer.stopping.set()
    writer.join(5)
    provider.go_on.set()
    second.writer.run()
    assert asked.kinds() == ["queued", "started", "resumed", "done"]
    assert asked.message().thinking == "Hmm"


def test_a_dead_attempts_late_thought_is_refused(runtime: Runtime, clock: TurnableClock) -> None:
    asked = ask(runtime, "thinks")
    lost = runtime.attempts.claim(asked.generation_id)
    assert lost is not None
    runtime.generation_events.take_over(lost)
    runtime.event_loop.run(runtime.generation_events.append_thinking(lost, "Old thoughts", 0))
    clock.turn(LAPSED)
    runtime.reaper.reap()
    taken = runtime.attempts.claim(asked.generation_id)
    assert taken is not None
    runtime.generation_events.take_over(taken)
    assert taken.draft.thinking.text == "Old thoughts"
    with pytest.raises(Fenced):
        runtime.event_loop.run(runtime.generation_events.append_thinking(lost, ", too late", 0))
    runtime.attempts.hand_off(taken)
    runtime.writer.run()
    assert asked.message().thinking == THOUGHT


@owned_or_not
def test_after_three_attempts_what_was_thought_last_is_kept(
    runtime: Runtime, clock: TurnableClock, owned: bool
) -> None:
    asked = ask(runtime, "thinks", owned=owned)
    for number in (1, 2, 3):
        attempt = runtime.attempts.claim(asked.generation_id)
        assert attempt is not None
        runtime.generation_events.take_over(attempt)
        runtime.generation_events.begin_request(attempt)
        for thinking_ms, words in ((0, f"<{number}"), (4000, ">")):
            runtime.event_loop.run(runtime.generation_events.append_thinking(attempt, words, thinking_ms))
        clock.turn(LAPSED)
        runtime.reaper.reap()
    message = asked.message()
    assert (message.state, message.thinking, message.thinking_seconds) == ("failed", "<3>", 4)
    assert (message.problem or {})["type"] == "/problems/generation-lost"
    assert message.finish_reason == "error"
    assert asked.told().end == "failed"


def _forget_all(runtime: Runtime, _: Asked) -> None:
    runtime.redis.flushall()


def _forget_the_newest(runtime: Runtime, asked: Asked) -> None:
    """What a power cut does to a Redis that writes its file once a second: of the thinking alone."""
    at = keys(asked.session.id)
    entries = cast("list[tuple[str, dict[str, str]]]", runtime.redis.xrevrange(at.log, count=1))
    runtime.redis.xdel(at.log, *(entry for entry, _ in entries))
    runtime.redis.hincrby(at.meta, "offset", -1)
    runtime.redis.hincrby(at.meta, "seq", -1)
    runtime.redis.set(at.thinking, str(runtime.redis.get(at.thinking))[:2])


@owned_or_not
@pytest.mark.parametrize("forget", [_forget_all, _forget_the_newest])
def test_a_log_that_is_lost_in_mid_thinking_is_begun_anew_with_all_of_it(
    runtime: Runtime, provider: ProviderServer, owned: bool, forget: Any
) -> None:
    provider.go_on.clear()
    asked = ask(runtime, "thinks-slowly", owned=owned)
    writer = asked.write()
    wait_for_thoughts(asked, "Hmm...")
    seen = asked.told().thinking
    before = runtime.log.read(asked.session.id, after=0).epoch
    forget(runtime, asked)
    wait_for(lambda: runtime.log.read(asked.session.id, after=0).epoch not in ("", before), what="another epoch")
    provider.go_on.set()
    writer.join()
    message = asked.message()
    assert (message.text, message.state) == (ANSWER, "complete")
    assert (message.thinking or "").startswith(seen)
    assert set(str(message.thinking).removeprefix("Hmm")) == {"."}


def test_a_stop_after_redis_and_the_worker_are_lost_keeps_the_snapshots_thoughts(
    runtime: Runtime, clock: TurnableClock, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.generation.heartbeat.SNAPSHOT_INTERVAL", 0.05)
    provider.go_on.clear()
    asked = ask(runtime, "thinks-slowly", owned=True)
    writer = asked.write()
    wait_for(lambda: runtime.transcript.snapshot(asked.generation_id).thinking.startswith("Hmm."))
    runtime.attempts.seize(_as_it_is(asked))  # the worker is lost ...
    provider.go_on.set()
    writer.join()
    runtime.redis.flushall()  # ... and so is Redis
    runtime.generations.stop(asked.session)
    clock.turn(LAPSED)
    assert runtime.reaper.reap().ended == 1
    message = runtime.transcript.read(asked.session).messages[-1]
    assert (message.state, message.finish_reason) == ("stopped", "stopped")
    assert (message.thinking or "").startswith("Hmm.")
    assert message.thinking_seconds == 1


def _as_it_is(asked: Asked) -> Any:
    with asked.runtime.database.reading() as db:
        return asked.runtime.attempts.from_row(asked.row(), db)


def test_another_model_thinks_anew(runtime: Runtime) -> None:
    asked = ask(runtime, "thinks-then-falls-back")
    runtime.writer.run()
    fallback = next(data for kind, data in asked.events() if kind == "fallback")
    assert (fallback["to"], fallback["reason"], fallback["thinking"]) == ("thinks", "empty", 0)
    message = asked.message()
    assert (message.text, message.thinking, message.model) == (ANSWER, THOUGHT, "thinks")


def test_a_model_that_breaks_off_in_mid_thinking_is_asked_once_more(
    runtime: Runtime, provider: ProviderServer
) -> None:
    asked, before = ask(runtime, "thinks-then-breaks"), len(provider.requests)
    runtime.writer.run()
    assert len(provider.requests) == before + 2
    message = asked.message()
    assert (message.state, message.thinking) == ("failed", THOUGHT), "kept once"
    assert (message.problem or {})["reason"] == "broken-stream"
    assert [data["at"] for kind, data in asked.events() if kind == "thinking"].count(0) == 2


def test_a_model_whose_thinking_took_all_its_room_is_asked_once_more(settings: Any, tmp_path: Any) -> None:
    asks = iter(("length", "stop"))

    def thinks_more(handler: Handler) -> None:
        handler.begin()
        handler.think("Too long. ")
        reason = next(asks)
        if reason == "stop":
            handler.chunk(ANSWER)
        handler.conclude(reason)

    server = ProviderServer({"thinks": thinks_more})
    (tmp_path / "models.toml").write_text(server.models_toml())
    parts = Runtime(settings)
    asked = ask(parts, "thinks")
    parts.writer.run()
    message = asked.message()
    assert (message.text, message.thinking, message.state) == (ANSWER, "Too long. ", "complete")
    assert asked.kinds() == ["queued", "started", "done"]
    parts.close()
    server.stop()
