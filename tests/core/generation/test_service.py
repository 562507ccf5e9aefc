"""GenerationService over a real provider, a real log and a real database."""

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from uuid_utils.compat import uuid7

from core.conversation.event_log import Event
from core.conversation.keys import keys
from core.errors import GenerationInProgress, GenerationLost, MessageTooLarge
from core.generation.accepted import Accepted
from core.generation.admission import ADMISSION_TIMEOUT
from core.generation.attempts import ENQUEUE_TIMEOUT
from core.llm.providers import openai_compatible  # noqa: F401  half a second that no first token should wait for
from core.runtime import Runtime
from core.sessions.credential import Credential
from core.stores.tables import Generation, Session
from tests.conftest import TurnableClock, new_user
from tests.support.provider import ANSWER, ProviderServer
from tests.support.waiting import wait_for

TERMINAL = ("done", "failed")


@pytest.fixture
def quick(settings: Any) -> Iterator[Runtime]:
    """A process with a short lease."""
    parts = Runtime(settings.model_copy(update={"lease": timedelta(seconds=0.3)}))
    yield parts
    parts.close()


def _session(runtime: Runtime, model: str) -> Session:
    credential = Credential.issue()
    with runtime.database.writing() as db:
        return runtime.sessions.create_session(
            db, session_id=credential.session_id, secret_hash=credential.secret_hash, model=model
        )


def _ask(runtime: Runtime, model: str, message: str = "Why?") -> tuple[Session, Accepted]:
    session = _session(runtime, model)
    return session, runtime.generations.accept(session, message)


def _events(runtime: Runtime, session_id: UUID) -> list[tuple[str, dict[str, Any]]]:
    events: list[Event] = list(runtime.log.read(session_id, after=0).events)
    assert [event.offset for event in events] == list(range(1, len(events) + 1))
    return [(event.type, json.loads(event.data)) for event in events]


def _row(runtime: Runtime, generation_id: UUID) -> Generation:
    with runtime.database.reading() as db:
        return db.get_one(Generation, generation_id)


def _in_thread(runtime: Runtime, accepted: Accepted) -> threading.Thread:
    thread = threading.Thread(target=runtime.writer.run)
    thread.start()
    return thread


def test_an_answer_is_streamed_whole_and_ends_once(runtime: Runtime, provider: ProviderServer) -> None:
    session, accepted = _ask(runtime, "good", "Wo — 你好?")
    runtime.writer.run()

    events = _events(runtime, session.id)
    kinds = [kind for kind, _ in events]
    assert kinds[:2] == ["queued", "started"]
    assert set(kinds[2:-1]) == {"delta"}
    assert kinds[-1] == "done"
    deltas = [data for kind, data in events if kind == "delta"]
    assert "".join(delta["text"] for delta in deltas) == ANSWER
    assert [delta["at"] for delta in deltas] == [
        sum(len(earlier["text"]) for earlier in deltas[:index]) for index in range(len(deltas))
    ]
    assert events[-1][1] == {
        "generation_id": str(accepted.generation_id),
        "model": "good",
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 7, "completion_tokens": 11, "reasoning_tokens": 0},
        "length": len(ANSWER),
    }
    row = _row(runtime, accepted.generation_id)
    assert (row.state, row.attempt, row.prompt_tokens, row.completion_tokens) == ("done", 1, 7, 11)
    conversation = runtime.transcript.read(session)
    assert [(message.role, message.text, message.model, message.state) for message in conversation.messages] == [
        ("user", "Wo — 你好?", None, "complete"),
        ("assistant", ANSWER, "good", "complete"),
    ]
    assert conversation.cursor is not None
    assert conversation.cursor.offset == len(events)


def test_the_provider_gets_the_system_prompt_and_the_history(runtime: Runtime, provider: ProviderServer) -> None:
    session, _accepted = _ask(runtime, "good", "First?")
    runtime.writer.run()
    runtime.generations.accept(session, "Second?")
    runtime.writer.run()
    assert [(turn["role"], turn["content"]) for turn in provider.requests[-1]["messages"]] == [
        ("system", "Be kind."),
        ("user", "First?"),
        ("assistant", ANSWER),
        ("user", "Second?"),
    ]
    assert provider.requests[-1]["max_tokens"] == 100
    assert provider.requests[-1]["stream_options"] == {"include_usage": True}


def test_a_long_conversation_is_cut_to_the_models_context(runtime: Runtime, provider: ProviderServer) -> None:
    session = _session(runtime, "echo-length")
    for _ in range(8):
        runtime.generations.accept(session, "x" * 600)
        runtime.writer.run()
    messages = runtime.transcript.read(session).messages
    answers = [message.text for message in messages if message.role == "assistant"]
    assert answers == ["2", "4", "4", "4", "4", "4", "4", "4"]
    assert provider.requests[-1]["messages"][0] == {"role": "system", "content": "Be kind."}


def test_one_live_generation_per_session(runtime: Runtime) -> None:
    session, _accepted = _ask(runtime, "good")
    with pytest.raises(GenerationInProgress):
        runtime.generations.accept(session, "And?")
    runtime.writer.run()
    runtime.generations.accept(session, "And?")
    assert [message.text for message in runtime.transcript.read(session).messages] == ["Why?", ANSWER, "And?", ""]


def test_of_racing_messages_one_is_taken_and_the_others_leave_nothing(runtime: Runtime) -> None:
    session = _session(runtime, "good")
    start = threading.Barrier(8)
    taken: list[Accepted] = []
    refused: list[Exception] = []

    def send() -> None:
        start.wait()
        try:
            taken.append(runtime.generations.accept(session, "Why?"))
        except GenerationInProgress as error:
            refused.append(error)

    senders = [threading.Thread(target=send) for _ in range(8)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert (len(taken), len(refused)) == (1, 7)
    assert [kind for kind, _ in _events(runtime, session.id)] == ["queued"]


def test_a_doubled_task_runs_once(runtime: Runtime, provider: ProviderServer) -> None:
    session, accepted = _ask(runtime, "good")
    before = len(provider.requests)
    threads = [_in_thread(runtime, accepted) for _ in range(4)]
    for thread in threads:
        thread.join()
    runtime.writer.run()
    assert len(provider.requests) == before + 1
    assert [kind for kind, _ in _events(runtime, session.id)].count("done") == 1


def test_a_generation_that_does_not_exist_is_nothing(runtime: Runtime) -> None:
    runtime.writer.run()


@pytest.mark.parametrize(
    ("model", "kept", "words"),
    [
        ("away", "", "can't be reached"),
        ("unauthorized", "", "refused this service's key"),
        ("rate-limited", "", "overloaded"),
        ("rejected", "", "did not accept"),
        ("broken", "", "an error of its own"),
        ("silent", "", "took too long"),
        ("stalled", "Half an ", "took too long"),
        ("cut", "Half an ", "broke off"),
        ("garbled", "Half an ", "broke off"),
        ("error-in-stream", "Half an ", "an error of its own"),
    ],
)
def test_a_provider_that_fails_ends_the_answer_with_a_plain_reason(
    runtime: Runtime, model: str, kept: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    session, _accepted = _ask(runtime, model)
    runtime.writer.run()

    events = _events(runtime, session.id)
    kind, data = events[-1]
    assert kind == "failed"
    assert words in data["problem"]["detail"]
    assert (data["problem"]["model"], data["length"]) == (model, len(kept))
    assert "sk-secret" not in json.dumps(events) + caplog.text
    answer = runtime.transcript.read(session).messages[-1]
    assert (answer.text, answer.state) == (kept, "failed")
    # ... and the session is usable again at once.
    runtime.generations.accept(session, "Again?")


def test_a_provider_that_goes_silent_is_hung_up_on(runtime: Runtime, provider: ProviderServer) -> None:
    provider.disconnected.clear()
    _, _accepted = _ask(runtime, "stalled")
    runtime.writer.run()
    assert provider.disconnected.wait(5)


def test_a_reader_in_mid_answer_sees_what_has_come_so_far(runtime: Runtime, provider: ProviderServer) -> None:
    provider.go_on.clear()
    session, accepted = _ask(runtime, "paused")
    thread = _in_thread(runtime, accepted)
    wait_for(lambda: runtime.transcript.written(session.id, accepted.generation_id).text.startswith("Wait."))
    answer = runtime.transcript.read(session).messages[-1]
    assert (answer.id, answer.state) == (str(accepted.generation_id), "streaming")
    assert answer.text.startswith("Wait.")
    active = runtime.generations.active(session.id)
    assert active == {"generation_id": str(accepted.generation_id), "state": "running", "model": "paused"}
    provider.go_on.set()
    thread.join()
    assert runtime.transcript.read(session).messages[-1].text.endswith(". for it")


def test_a_live_worker_keeps_its_lease(quick: Runtime, provider: ProviderServer) -> None:
    provider.go_on.clear()
    session, accepted = _ask(quick, "paused")
    thread = _in_thread(quick, accepted)
    wait_for(lambda: _row(quick, accepted.generation_id).state == "running")
    claimed_until = _row(quick, accepted.generation_id).lease_until
    wait_for(lambda: _row(quick, accepted.generation_id).lease_until > claimed_until)
    assert quick.reaper.reap().handed_off == ()
    provider.go_on.set()
    thread.join()
    assert _events(quick, session.id)[-1][0] == "done"


def test_a_generation_that_nobody_picks_up_fails(settings: Any, clock: TurnableClock) -> None:
    runtime = Runtime(settings, clock=clock)
    session, _accepted = _ask(runtime, "good")
    assert runtime.reaper.reap().ended == 0
    clock.turn(timedelta(seconds=61))
    assert runtime.reaper.reap().ended == 1
    runtime.writer.run()
    assert [kind for kind, _ in _events(runtime, session.id)] == ["queued", "failed"]
    runtime.close()


def test_a_retracted_generation_frees_its_session(runtime: Runtime) -> None:
    session, accepted = _ask(runtime, "good")
    runtime.admission.retract(accepted.generation_id)
    runtime.generations.accept(session, "Again?")
    assert [kind for kind, _ in _events(runtime, session.id)] == ["queued", "failed", "queued"]


def test_a_session_deleted_in_mid_answer_stays_deleted(runtime: Runtime, provider: ProviderServer) -> None:
    provider.go_on.clear()
    provider.disconnected.clear()
    session, accepted = _ask(runtime, "paused")
    thread = _in_thread(runtime, accepted)
    wait_for(lambda: runtime.transcript.written(session.id, accepted.generation_id).text)
    runtime.actions.end(session)
    thread.join(5)
    assert not thread.is_alive()
    assert provider.disconnected.wait(5)
    assert runtime.redis.keys(f"*{session.id}*") == []
    with runtime.database.reading() as db:
        assert db.scalars(select(Generation)).all() == []


def test_a_message_may_have_32_kib_and_no_more(runtime: Runtime) -> None:
    session = _session(runtime, "good")
    with pytest.raises(MessageTooLarge, match="32769 bytes"):
        runtime.generations.accept(session, "é" * 16384 + "x")
    runtime.generations.accept(session, "é" * 16384)


def test_accepting_a_message_extends_the_session(settings: Any, clock: TurnableClock) -> None:
    runtime = Runtime(settings, clock=clock)
    session = _session(runtime, "good")
    clock.turn(timedelta(minutes=20))
    runtime.generations.accept(session, "Why?")
    with runtime.database.reading() as db:
        assert db.get_one(Session, session.id).expires_at == clock.moment + timedelta(minutes=30)
    runtime.close()


def test_the_words_of_a_guest_are_not_in_the_database(runtime: Runtime, settings: Any) -> None:
    _, _accepted = _ask(runtime, "good", "canary-7f3a")
    runtime.writer.run()
    runtime.database.dispose()
    for path in settings.state_dir.glob("test.db*"):
        assert b"canary-7f3a" not in path.read_bytes()
        assert ANSWER.encode() not in path.read_bytes()


def test_nobody_takes_a_question_before_its_log_tells_of_it(
    runtime: Runtime, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = _session(runtime, "good")
    begin = runtime.log.begin

    def begin_late(*arguments: Any, **more: Any) -> Any:
        runtime.writer.run()  # another's task, or the reaper's, wakes a worker just now
        return begin(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(runtime.log, "begin", begin_late)
        accepted = runtime.generations.accept(session, "Why?")
    assert [kind for kind, _ in _events(runtime, session.id)] == ["queued"]
    runtime.writer.run()
    words = runtime.transcript.read(session).messages
    assert [(word.role, word.text) for word in words] == [("user", "Why?"), ("assistant", ANSWER)]
    assert _row(runtime, accepted.generation_id).attempt == 1


def test_a_question_whose_front_end_died_does_not_block_its_session_for_long(
    settings: Any, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Runtime(settings, clock=clock)
    session = _session(parts, "good")

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(parts.log, "begin", die)
        parts.generations.accept(session, "Why?")
    with pytest.raises(GenerationInProgress):
        parts.generations.accept(session, "Why?")
    clock.turn(ENQUEUE_TIMEOUT + timedelta(seconds=1))
    assert parts.writer.run() is None
    assert parts.reaper.reap().ended == 1
    parts.generations.accept(session, "Why?")
    parts.close()


def _owned(runtime: Runtime, owned: bool) -> Session:
    if not owned:
        return _session(runtime, "good")
    owner = new_user(runtime.database)
    with runtime.database.writing() as db:
        return runtime.sessions.create_session(db, owner, model="good")


def _die_on_the_way(runtime: Runtime, session: Session, message: str, generation_id: UUID) -> None:
    """The front end ends between the generation's row and its log."""

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runtime.log, "begin", die)
        runtime.generations.accept(session, message, generation_id)


def _questions(runtime: Runtime, session: Session) -> list[str]:
    return [each.text for each in runtime.transcript.read(session).messages if each.role == "user"]


@pytest.mark.parametrize("owned", [False, True])
def test_a_repeat_of_what_a_front_end_has_left_halfway_goes_on_from_there(runtime: Runtime, owned: bool) -> None:
    session, generation_id = _owned(runtime, owned), uuid7()
    _die_on_the_way(runtime, session, "Why?", generation_id)
    for _ in range(2):
        assert runtime.generations.accept(session, "Why?", generation_id).generation_id == generation_id
    runtime.writer.run()
    assert _row(runtime, generation_id).state == "done"
    assert _questions(runtime, session) == ["Why?"]
    kinds = [kind for kind, _ in _events(runtime, session.id)]
    assert (kinds[0], kinds.count("queued"), kinds[-1]) == ("queued", 1, "done")


@pytest.mark.parametrize("owned", [False, True])
def test_what_a_front_end_has_left_halfway_is_taken_back_for_the_next_question(
    settings: Any, clock: TurnableClock, owned: bool
) -> None:
    parts = Runtime(settings, clock=clock)
    session = _owned(parts, owned)
    _die_on_the_way(parts, session, "Lost?", uuid7())
    clock.turn(ADMISSION_TIMEOUT + timedelta(seconds=1))
    parts.generations.accept(session, "Why?", uuid7())
    parts.writer.run()
    assert _questions(parts, session) == ["Why?"]
    parts.close()


def test_a_repeat_of_what_was_retracted_is_not_told_that_all_is_well(runtime: Runtime) -> None:
    session, accepted = _ask(runtime, "good")
    runtime.admission.retract(accepted.generation_id)
    with pytest.raises(GenerationLost):
        runtime.generations.accept(session, "Why?", accepted.generation_id)


def test_a_question_that_redis_has_lost_is_not_answered_with_the_one_before(
    runtime: Runtime, provider: ProviderServer
) -> None:
    session, _ = _ask(runtime, "good", "First?")
    runtime.writer.run()
    accepted = runtime.generations.accept(session, "Second?")
    runtime.redis.rpop(keys(session.id)[3])
    before = len(provider.requests)
    runtime.writer.run()
    assert len(provider.requests) == before
    assert _row(runtime, accepted.generation_id).finish_reason == "generation-lost"


@pytest.mark.parametrize("model", ["lingers", "cut-after-its-end"])
def test_what_goes_wrong_after_the_end_does_not_spoil_the_answer(
    runtime: Runtime, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.setattr("core.generation.deadlines.DRAIN_TIMEOUT", 0.2)
    session, accepted = _ask(runtime, model)
    before = len(provider.requests)
    runtime.writer.run()
    assert len(provider.requests) == before + 1
    assert _row(runtime, accepted.generation_id).state == "done"
    assert runtime.transcript.read(session).messages[-1].text == ANSWER
    assert runtime.cooldowns.in_cooldown([model]) == set()
