"""Answers that survive their workers: lease, takeover, handing on, and exactly one end."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from uuid_utils.compat import uuid7

from core.conversation.keys import keys
from core.errors import NothingToStop, Unavailable
from core.generation.accepted import Accepted
from core.llm.providers import openai_compatible  # noqa: F401  half a second that no first token should wait for
from core.llm.providers.base import ErrorKind, ProviderError
from core.runtime import Runtime
from core.sessions.credential import Credential
from core.stores import tables
from core.stores.database import Database
from tests.conftest import TurnableClock, new_user
from tests.support.provider import ANSWER, HALF, ProviderServer
from tests.support.waiting import wait_for


@pytest.fixture
def runtime(settings: Any, clock: TurnableClock) -> Iterator[Runtime]:
    """A process whose clock the test turns."""
    parts = Runtime(settings, clock=clock)
    yield parts
    parts.close()


@pytest.fixture
def second(settings: Any, clock: TurnableClock) -> Iterator[Runtime]:
    """Another process."""
    parts = Runtime(settings, clock=clock)
    yield parts
    parts.close()


def _ask(runtime: Runtime, model: str, owner: UUID | None = None) -> tuple[tables.Session, Accepted]:
    credential = Credential.issue()
    with runtime.database.writing() as db:
        session = runtime.sessions.create_session(
            db,
            owner,
            session_id=credential.session_id,
            secret_hash=None if owner else credential.secret_hash,
            model=model,
        )
    return session, runtime.generations.accept(session, "Why?")


def _start(runtime: Runtime, accepted: Accepted) -> tuple[threading.Thread, list[UUID | None]]:
    handed_off: list[UUID | None] = []
    thread = threading.Thread(target=lambda: handed_off.append(runtime.writer.run()))
    thread.start()
    return thread, handed_off


def _partial(runtime: Runtime, accepted: Accepted) -> str:
    return runtime.transcript.written(accepted.session_id, accepted.generation_id).text


def _events(runtime: Runtime, session_id: UUID) -> list[tuple[str, dict[str, Any]]]:
    events = runtime.log.read(session_id, after=0).events
    assert [event.offset for event in events] == list(range(1, len(events) + 1))
    told = [(event.type, json.loads(event.data)) for event in events]
    text = ""
    for kind, data in told:
        if kind == "delta":
            assert data["at"] == len(text)
            text += data["text"]
    assert sum(kind in ("done", "stopped", "failed") for kind, _ in told) <= 1
    return told


def _kinds(runtime: Runtime, session_id: UUID) -> list[str]:
    return [kind for kind, _ in _events(runtime, session_id) if kind != "delta"]


def _answer(runtime: Runtime, session: tables.Session) -> tuple[str, str]:
    message = runtime.transcript.read(session).messages[-1]
    return message.text, message.state


@pytest.mark.parametrize("owned", [False, True])
def test_a_dead_workers_answer_is_carried_on_from_its_text(
    runtime: Runtime, second: Runtime, clock: TurnableClock, owned: bool
) -> None:
    session, accepted = _ask(runtime, "prefilled-stalled", new_user(runtime.database) if owned else None)
    thread, handed_off = _start(runtime, accepted)
    wait_for(lambda: len(_partial(runtime, accepted)) == HALF)
    clock.turn(timedelta(seconds=11))
    assert second.reaper.reap().handed_off == (accepted.generation_id,)
    assert second.reaper.reap().handed_off == ()
    second.writer.run()
    thread.join()

    assert handed_off == [None]
    assert _kinds(second, session.id) == ["queued", "started", "resumed", "done"]
    resumed = next(data for kind, data in _events(second, session.id) if kind == "resumed")
    assert resumed == {"generation_id": str(accepted.generation_id), "attempt": 2, "at": HALF, "thinking": 0}
    assert _answer(second, session) == (ANSWER, "complete")


def test_a_worker_that_comes_back_after_its_lease_says_nothing_more(
    runtime: Runtime, second: Runtime, clock: TurnableClock, provider: ProviderServer
) -> None:
    provider.go_on.clear()
    provider.disconnected.clear()
    session, accepted = _ask(runtime, "paused")
    thread, _ = _start(runtime, accepted)
    wait_for(lambda: _partial(runtime, accepted).startswith("Wait."))
    clock.turn(timedelta(seconds=11))
    second.reaper.reap()
    second_thread, _ = _start(second, accepted)
    wait_for(lambda: "resumed" in _kinds(second, session.id))
    thread.join(5)
    assert not thread.is_alive()
    assert provider.disconnected.wait(5)
    provider.go_on.set()
    second_thread.join()
    assert _kinds(second, session.id) == ["queued", "started", "resumed", "done"]


def test_after_three_attempts_it_fails_and_what_there_is_is_kept(runtime: Runtime, clock: TurnableClock) -> None:
    session, accepted = _ask(runtime, "good")
    for number in (1, 2, 3):
        attempt = runtime.attempts.claim(accepted.generation_id)
        assert attempt is not None
        assert attempt.number == number
        runtime.generation_events.take_over(attempt)
        runtime.event_loop.run(runtime.generation_events.append_delta(attempt, f"<{number}>", 0))
        clock.turn(timedelta(seconds=11))
        reaped = runtime.reaper.reap()
        assert (len(reaped.handed_off), reaped.ended) == ((1, 0) if number < 3 else (0, 1))
    assert _kinds(runtime, session.id)[-1] == "failed"
    assert _answer(runtime, session) == ("<1><2><3>", "failed")
    runtime.generations.accept(session, "Again?")


def test_a_worker_that_is_told_to_stop_hands_its_answer_on(
    runtime: Runtime, second: Runtime, provider: ProviderServer
) -> None:
    provider.disconnected.clear()
    session, accepted = _ask(runtime, "prefilled-stalled")
    thread, handed_off = _start(runtime, accepted)
    wait_for(lambda: len(_partial(runtime, accepted)) == HALF)
    runtime.writer.stopping.set()
    thread.join(5)
    assert handed_off == [accepted.generation_id]
    assert provider.disconnected.wait(5)
    second.writer.run()
    assert _kinds(second, session.id) == ["queued", "started", "resumed", "done"]
    assert _answer(second, session) == (ANSWER, "complete")


def test_a_worker_that_is_frozen_in_a_transaction_holds_up_nobody(
    settings: Any, postgres_url: str, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = Runtime(settings.model_copy(update={"configured_database_url": postgres_url}), clock=clock)
    monkeypatch.setattr("core.stores.postgres.IDLE_TIMEOUT", 0.5)
    frozen = Database(postgres_url)
    one, other = (_ask(runtime, "good")[1].generation_id for _ in range(2))
    for generation_id in (one, other):
        assert runtime.attempts.claim(generation_id) is not None
    clock.turn(timedelta(seconds=11))
    transaction = ExitStack()
    db = transaction.enter_context(frozen.writing())
    db.execute(select(tables.Generation).where(tables.Generation.id == one).with_for_update())
    assert runtime.reaper.reap().handed_off == (other,)
    wait_for(lambda: one in runtime.reaper.reap().handed_off, seconds=5, what="its lock is taken from it")
    with pytest.raises(Unavailable):  # its connection is gone when it thaws
        transaction.close()
    frozen.dispose()
    runtime.close()


@pytest.mark.parametrize("model", ["prefilled-cut", "repeating-cut"])
def test_a_cut_stream_is_gone_on_with_by_the_same_model(runtime: Runtime, model: str) -> None:
    session, _accepted = _ask(runtime, model)
    runtime.writer.run()
    assert _kinds(runtime, session.id) == ["queued", "started", "done"]
    assert _answer(runtime, session) == (ANSWER, "complete")


def test_a_dead_provider_costs_a_fallback_and_not_an_answer(runtime: Runtime) -> None:
    session, _accepted = _ask(runtime, "falls-back")
    runtime.writer.run()
    events = _events(runtime, session.id)
    assert [(data["from"], data["to"], data["reason"]) for kind, data in events if kind == "fallback"] == [
        ("falls-back", "unauthorized", "server-error"),
        ("unauthorized", "good", "unauthorized"),
    ]
    assert (events[-1][0], events[-1][1]["model"]) == ("done", "good")
    message = runtime.transcript.read(session).messages[-1]
    assert (message.text, message.model) == (ANSWER, "good")


def test_a_provider_that_dies_in_the_middle_is_gone_on_with_by_the_next(runtime: Runtime) -> None:
    session, _accepted = _ask(runtime, "falls-back-midway")
    runtime.writer.run()
    assert _kinds(runtime, session.id) == ["queued", "started", "fallback", "done"]
    assert _answer(runtime, session) == (ANSWER, "complete")


@pytest.mark.parametrize("model", ["falls-back-midway", "falls-back"])
def test_no_answer_fails_while_a_resting_model_has_not_been_asked(runtime: Runtime, model: str) -> None:
    for other in ("goes-on", "good", "unauthorized"):
        runtime.cooldowns.note_failure(other, ProviderError(ErrorKind.UNREACHABLE), uuid7())
    session, _accepted = _ask(runtime, model)
    runtime.writer.run()
    assert _kinds(runtime, session.id)[-2:] == ["fallback", "done"]
    assert _answer(runtime, session) == (ANSWER, "complete")


def test_a_failing_model_rests_for_all_workers_until_it_has_answered(
    runtime: Runtime, second: Runtime, provider: ProviderServer
) -> None:
    def asked(process: Runtime) -> int:
        before = [request["model"] for request in provider.requests].count("falls-back")
        _ask(process, "falls-back")
        process.writer.run()
        return [request["model"] for request in provider.requests].count("falls-back") - before

    # An error of the server's own, met in one question, may be about that question.
    assert asked(runtime) == 1
    assert runtime.cooldowns.in_cooldown(["falls-back", "unauthorized", "good"]) == {"unauthorized"}
    assert asked(second) == 1
    assert asked(runtime) == 1
    assert asked(second) == 0
    assert runtime.cooldowns.in_cooldown(["falls-back", "unauthorized", "good"]) == {"falls-back", "unauthorized"}
    # Its time is over, but it has not answered: no question is sent to find out.
    runtime.redis.delete("sb:resting:falls-back")
    assert asked(second) == 0
    runtime.cooldowns.end("falls-back")
    assert asked(second) == 1


def test_a_stop_before_anybody_writes_ends_it_at_once(runtime: Runtime) -> None:
    session, accepted = _ask(runtime, "good")
    assert runtime.generations.stop(session) == accepted.generation_id
    runtime.writer.run()
    assert _kinds(runtime, session.id) == ["queued", "stopped"]
    with pytest.raises(NothingToStop):
        runtime.generations.stop(session)
    runtime.generations.accept(session, "Again?")


@pytest.mark.parametrize("model", ["paused", "silent"])
def test_a_stop_from_another_process_closes_the_connection_and_keeps_what_was_shown(
    runtime: Runtime, second: Runtime, provider: ProviderServer, model: str
) -> None:
    provider.go_on.clear()
    provider.disconnected.clear()
    session, accepted = _ask(runtime, model)
    before = len(provider.requests)
    thread, _ = _start(runtime, accepted)
    wait_for(lambda: len(provider.requests) > before)
    if model == "paused":
        wait_for(lambda: _partial(runtime, accepted).startswith("Wait."))
    second.generations.stop(session)
    thread.join(1.5)
    assert not thread.is_alive()
    assert provider.disconnected.wait(5)
    kind, data = _events(runtime, session.id)[-1]
    text, state = _answer(runtime, session)
    assert (kind, data["length"], state) == ("stopped", len(text), "stopped")


def test_a_stop_that_comes_during_a_takeover_holds(runtime: Runtime, second: Runtime, clock: TurnableClock) -> None:
    session, accepted = _ask(runtime, "prefilled-stalled")
    attempt = runtime.attempts.claim(accepted.generation_id)
    assert attempt is not None
    runtime.log.take_over(session.id, accepted.generation_id, 1)
    runtime.event_loop.run(runtime.generation_events.append_delta(attempt, "Half", 0))
    runtime.generations.stop(session)
    clock.turn(timedelta(seconds=11))
    assert second.reaper.reap().ended == 1
    assert _kinds(second, session.id)[-1] == "stopped"
    assert _answer(second, session) == ("Half", "stopped")


def test_a_stop_is_seen_by_the_row_when_redis_forgot_it(
    runtime: Runtime, second: Runtime, provider: ProviderServer
) -> None:
    session, _accepted = _ask(runtime, "paused")
    runtime.generations.stop(session)
    assert runtime.writer.run() is None
    assert _kinds(runtime, session.id) == ["queued", "stopped"]


def test_slots_of_a_provider_are_shared_by_all_workers(
    runtime: Runtime, second: Runtime, provider: ProviderServer
) -> None:
    provider.go_on.clear()
    first, accepted = _ask(runtime, "one-at-a-time")
    other, waiting = _ask(second, "one-at-a-time")
    before = len(provider.requests)
    thread, handed_off = _start(runtime, accepted)
    wait_for(lambda: _partial(runtime, accepted).startswith("Wait."))
    assert second.writer.run() is None
    assert "started" not in _kinds(second, other.id)
    provider.go_on.set()
    thread.join()
    assert handed_off == [waiting.generation_id]  # a worker that gives a slot back wakes the next one
    second.writer.run()
    assert len(provider.requests) == before + 2
    assert _kinds(second, first.id)[-1] == _kinds(second, other.id)[-1] == "done"
    assert runtime.redis.zcard("sb:{limit}:slots:one-at-a-time") == 0


def test_an_owned_answer_is_kept_in_sql_while_it_is_written(
    runtime: Runtime, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.generation.heartbeat.SNAPSHOT_INTERVAL", 0.05)
    provider.go_on.clear()
    session, accepted = _ask(runtime, "paused", new_user(runtime.database))
    thread, _ = _start(runtime, accepted)

    def kept() -> str:
        with runtime.database.reading() as db:
            row = db.get(tables.Message, accepted.generation_id)
        return row.text if row is not None else ""

    wait_for(lambda: kept().startswith("Wait."))
    assert len(runtime.transcript.read(session).messages) == 2
    provider.go_on.set()
    thread.join()
    assert _answer(runtime, session)[1] == "complete"
    assert kept().endswith(". for it")
    assert not runtime.redis.exists(keys(session.id)[3])
