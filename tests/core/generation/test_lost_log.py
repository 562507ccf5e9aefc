"""Redis loses the log of an answer, or its newest part, while the answer is being written or told."""

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import pytest

from core.conversation.event_log import Event
from core.conversation.keys import keys
from core.llm.providers import openai_compatible  # noqa: F401  half a second that no first token should wait for
from core.runtime import Runtime
from core.stores.tables import Generation, Session
from tests.conftest import TurnableClock, new_user
from tests.support.provider import ANSWER, HALF, ProviderServer
from tests.support.waiting import wait_for


@pytest.fixture
def runtime(settings: Any, clock: TurnableClock) -> Iterator[Runtime]:
    """A process whose clock the test turns."""
    parts = Runtime(settings, clock=clock)
    yield parts
    parts.close()


def _ask(runtime: Runtime, model: str, *, owned: bool) -> tuple[Session, UUID]:
    owner = new_user(runtime.database) if owned else None
    with runtime.database.writing() as db:
        secret_hash = None if owned else bytes(32)
        session = runtime.sessions.create_session(db, owner, secret_hash=secret_hash, model=model)
    return session, runtime.generations.accept(session, "Why?").generation_id


def _state(runtime: Runtime, generation_id: UUID) -> str:
    with runtime.database.reading() as db:
        return db.get_one(Generation, generation_id).state


def _events(runtime: Runtime, session: Session) -> list[Event]:
    events = list(runtime.log.read(session.id, after=0).events)
    assert [event.offset for event in events] == list(range(1, len(events) + 1))
    return events


def _text(events: list[Event]) -> str:
    text = ""
    for event in events:
        if event.type == "delta":
            data = json.loads(event.data)
            assert data["at"] == len(text)
            text += data["text"]
    return text


def _answer(runtime: Runtime, session: Session) -> tuple[str, str]:
    message = runtime.transcript.read(session).messages[-1]
    return message.text, message.state


def _forget_the_newest(runtime: Runtime, session: Session) -> None:
    """What a power cut does to a Redis that writes its file once a second."""
    log, meta, partial, *_ = keys(session.id)
    entries = cast("list[tuple[str, dict[str, str]]]", runtime.redis.xrevrange(log, count=2))
    runtime.redis.xdel(log, *(entry for entry, _ in entries))
    runtime.redis.hincrby(meta, "offset", -len(entries))
    runtime.redis.hincrby(meta, "seq", -len(entries))
    runtime.redis.set(partial, str(runtime.redis.get(partial))[:2])


def _damage(runtime: Runtime, session: Session) -> None:
    for key in keys(session.id):
        if runtime.redis.exists(key) and not key.endswith(":words"):
            runtime.redis.delete(key)
            runtime.redis.sadd(key, "poison")


def _damage_numbers(runtime: Runtime, session: Session) -> None:
    runtime.redis.hset(keys(session.id).meta, mapping={"offset": "many", "attempt": "first"})


def _add_a_stranger(runtime: Runtime, session: Session) -> None:
    runtime.redis.xadd(keys(session.id).log, {"poison": "poison"})


LOSSES = {
    "all": lambda runtime, _: runtime.redis.flushall(),
    "new": _forget_the_newest,
    "types": _damage,
    "numbers": _damage_numbers,
    "stranger": _add_a_stranger,
}


@pytest.mark.parametrize("owned", [False, True])
@pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES)
def test_an_answer_goes_on_in_a_new_log_with_every_character(
    runtime: Runtime, provider: ProviderServer, owned: bool, lose: Any
) -> None:
    provider.go_on.clear()
    session, generation_id = _ask(runtime, "paused", owned=owned)
    writer = threading.Thread(target=runtime.writer.run)
    writer.start()
    wait_for(lambda: runtime.transcript.written(session.id, generation_id).text.startswith("Wait..."))
    before = runtime.log.read(session.id, after=0)
    lose(runtime, session)
    wait_for(lambda: runtime.log.read(session.id, after=0).epoch not in ("", before.epoch), what="another epoch")
    provider.go_on.set()
    writer.join()

    events = _events(runtime, session)
    assert [event.type for event in events if event.type != "delta"] == ["started", "done"]
    answer, state = _answer(runtime, session)
    assert state == "complete"
    assert _text(events) == answer
    assert answer.startswith(_text(list(before.events)))
    assert answer.endswith(" for it")


def test_a_takeover_without_a_log_goes_on_from_the_snapshot(
    runtime: Runtime, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.generation.heartbeat.SNAPSHOT_INTERVAL", 0.05)
    session, generation_id = _ask(runtime, "prefilled-stalled", owned=True)
    writer = threading.Thread(target=runtime.writer.run)
    writer.start()
    wait_for(lambda: len(runtime.transcript.snapshot(generation_id).text) == HALF)
    clock.turn(timedelta(seconds=11))
    runtime.redis.flushall()
    second = Runtime(runtime.settings, clock=clock)
    assert second.reaper.reap().handed_off == (generation_id,)
    second.writer.run()
    writer.join()

    assert _answer(second, session) == (ANSWER, "complete")
    assert _text(_events(second, session)) == ANSWER
    second.close()


def test_a_question_that_waits_in_sql_is_answered_without_its_log(runtime: Runtime) -> None:
    session, _ = _ask(runtime, "good", owned=True)
    runtime.redis.flushall()
    runtime.writer.run()
    assert [message.text for message in runtime.transcript.read(session).messages] == ["Why?", ANSWER]
    assert [event.type for event in _events(runtime, session) if event.type != "delta"] == ["started", "done"]


def test_a_question_that_only_redis_had_fails_with_a_plain_reason(runtime: Runtime) -> None:
    session, generation_id = _ask(runtime, "good", owned=False)
    runtime.redis.flushall()
    runtime.writer.run()
    assert _state(runtime, generation_id) == "failed"
    last = _events(runtime, session)[-1]
    assert last.type == "failed"
    assert json.loads(last.data)["problem"]["detail"] == "The conversation has been lost. Please ask again."


@pytest.mark.parametrize("owned", [False, True])
def test_an_answer_whose_log_is_lost_at_its_very_end_is_kept(
    runtime: Runtime, owned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, _ = _ask(runtime, "good", owned=owned)
    settle = runtime.message_limits.settle

    def settle_and_lose(*arguments: Any) -> None:
        settle(*arguments)
        runtime.redis.flushall()

    monkeypatch.setattr(runtime.message_limits, "settle", settle_and_lose)
    runtime.writer.run()
    assert _answer(runtime, session) == (ANSWER, "complete")
    assert _text(_events(runtime, session)) == ANSWER
    assert _events(runtime, session)[-1].type == "done"


def test_nothing_is_begun_anew_for_a_session_that_is_gone(runtime: Runtime, provider: ProviderServer) -> None:
    provider.go_on.clear()
    session, generation_id = _ask(runtime, "paused", owned=False)
    writer = threading.Thread(target=runtime.writer.run)
    writer.start()
    wait_for(lambda: runtime.transcript.written(session.id, generation_id).text.startswith("Wait."))
    runtime.actions.end(session)
    writer.join()
    assert list(runtime.redis.scan_iter(f"sb:{{{session.id}}}*")) == []


def test_an_end_that_is_told_late_does_not_disturb_the_next_answer(runtime: Runtime, clock: TurnableClock) -> None:
    session, first = _ask(runtime, "good", owned=False)
    runtime.writer.run()
    with runtime.database.writing() as db:
        db.get_one(Generation, first).unpublished = {"length": 0}
    log = _events(runtime, session)
    runtime.redis.hdel(keys(session.id)[1], "generation")  # as if the first had never been told
    runtime.generations.accept(session, "And?")
    assert _events(runtime, session)[len(log)].type == "queued"
    clock.turn(timedelta(seconds=11))
    runtime.reaper.reap()
    runtime.writer.run()
    assert _answer(runtime, session) == (ANSWER, "complete")
