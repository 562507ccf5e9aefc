"""Two processes and one session in an unlucky order: an end before its beginning, a late word, an id out of turn.

The orders come from the model in tests/protocol/.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from core.conversation.event_log import Event, Fenced
from core.conversation.keys import keys
from core.errors import GenerationInProgress, GenerationLost, SessionInvalid, SwitchboardError
from core.generation.admission import ADMISSION_TIMEOUT
from core.generation.attempts import Attempt, LeaseLost
from core.generation.finalizer import Outcome
from core.runtime import Runtime
from core.stores.tables import GenerationState, Session
from tests.conftest import TurnableClock, new_user
from tests.support.provider import ANSWER


@pytest.fixture
def runtime(settings: Any, clock: TurnableClock) -> Iterator[Runtime]:
    """A process whose clock the test turns."""
    parts = Runtime(settings, clock=clock)
    yield parts
    parts.close()


@pytest.fixture(params=[False, True], ids=["guest", "owned"])
def session(runtime: Runtime, request: pytest.FixtureRequest) -> Session:
    """A session, once a guest's and once a user's."""
    return _create(runtime, new_user(runtime.database) if request.param else None)


def _create(runtime: Runtime, owner: UUID | None = None) -> Session:
    with runtime.database.writing() as db:
        return runtime.sessions.create_session(db, owner, secret_hash=None if owner else bytes(32))


def _before(
    monkeypatch: pytest.MonkeyPatch, part: object, method: str, act: Callable[[], object], *, once: bool = True
) -> None:
    """Let another process act just before one step of a process."""
    step = getattr(part, method)
    acted: list[bool] = []

    def stepped(*args: Any, **options: Any) -> Any:
        if not (once and acted):
            acted.append(True)
            act()
        return step(*args, **options)

    monkeypatch.setattr(part, method, stepped)


def _claim(runtime: Runtime, session: Session) -> Attempt:
    attempt = runtime.writer._attempts.claim(runtime.generations.accept(session, "Why?").generation_id)
    assert attempt is not None
    runtime.generation_events.take_over(attempt)
    return attempt


def _events(runtime: Runtime, session: Session) -> list[Event]:
    return list(runtime.log.read(session.id, after=0).events)


def _told(runtime: Runtime, session: Session) -> str:
    return "".join(json.loads(event.data)["text"] for event in _events(runtime, session) if event.type == "delta")


def _states(runtime: Runtime, session: Session) -> list[tuple[str, str]]:
    return [(each.role, each.state) for each in runtime.transcript.read(session).messages]


def test_a_question_stopped_before_its_log_has_begun_leaves_no_answer_that_never_ends(
    runtime: Runtime, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    _before(monkeypatch, runtime.admission, "announce", lambda: runtime.generations.stop(session))
    runtime.generations.accept(session, "Why?")
    assert _states(runtime, session) == [("user", "complete"), ("assistant", "stopped")]
    assert [event.type for event in _events(runtime, session)] == ["queued", "stopped"]
    # The session is as usable as before.
    runtime.generations.accept(session, "And?")
    runtime.writer.run()
    assert _states(runtime, session)[-1] == ("assistant", "complete")


def test_a_late_front_end_takes_no_log_from_the_answer_after_its_own(
    runtime: Runtime, session: Session, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answered_meanwhile() -> None:
        clock.turn(ADMISSION_TIMEOUT + timedelta(seconds=1))
        runtime.generations.accept(session, "And?")
        runtime.writer.run()

    _before(monkeypatch, runtime.admission, "announce", answered_meanwhile)
    with pytest.raises(GenerationLost):
        runtime.generations.accept(session, "Why?")
    assert [event.type for event in _events(runtime, session) if event.type != "delta"] == [
        "queued",
        "started",
        "done",
    ]


def test_an_end_from_outside_has_all_that_a_lost_worker_told(
    runtime: Runtime, session: Session, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = _claim(runtime, session)
    answers, finalizer = runtime.generation_events, runtime.writer._finalizer
    runtime.event_loop.run(answers.append_delta(lost, "Be", 0))
    told: list[str] = []

    def awakes() -> None:
        with suppress(Fenced, LeaseLost):
            runtime.event_loop.run(answers.append_delta(lost, "cause", 0))
        told.append(_told(runtime, session))

    _before(monkeypatch, finalizer, "_finalize", awakes)
    clock.turn(timedelta(seconds=11))
    assert finalizer.finalize_from_outside(lost.generation_id, Outcome(GenerationState.FAILED))
    message = runtime.transcript.read(session).messages[-1]
    assert (message.text, message.state) == (told[0], "failed")
    assert [event.type for event in _events(runtime, session)][-1] == "failed"


def test_the_first_word_of_a_lost_worker_does_not_swallow_the_end(
    runtime: Runtime, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = _claim(runtime, session)
    answers, finalizer = runtime.generation_events, runtime.writer._finalizer

    def awakes() -> None:
        with suppress(Fenced, LeaseLost):
            runtime.event_loop.run(answers.append_delta(lost, "Because", 0))

    _before(monkeypatch, finalizer, "_finalize", awakes)
    assert finalizer.finalize_from_outside(lost.generation_id, Outcome(GenerationState.FAILED))
    assert [event.type for event in _events(runtime, session)][-1] == "failed"
    assert _states(runtime, session)[-1] == ("assistant", "failed")


def test_a_claim_takes_along_what_was_said_after_it_had_read(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, user = _create(runtime), new_user(runtime.database)
    read = runtime.transcript.anonymous_messages

    def read_too_early(session_id: UUID) -> Any:
        words = read(session_id)
        monkeypatch.setattr(runtime.transcript, "anonymous_messages", read)
        runtime.generations.accept(session, "Why?")
        runtime.writer.run()
        return words

    monkeypatch.setattr(runtime.transcript, "anonymous_messages", read_too_early)
    claimed = runtime.actions.claim(session, user)
    assert [each.text for each in runtime.transcript.read(claimed).messages] == ["Why?", ANSWER]


def test_a_claim_publishes_every_end_or_waits_until_it_is_published(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, user = _create(runtime), new_user(runtime.database)
    with monkeypatch.context() as away:

        def fail(*_: Any, **__: Any) -> None:
            raise ConnectionError

        away.setattr(runtime.writer._finalizer, "_publish", fail)
        with suppress(ConnectionError):
            runtime.generations.accept(session, "Why?")
            runtime.writer.run()
    # The next question is retracted, and told of; the answer before is still to be told.
    with monkeypatch.context() as away:
        away.setattr(runtime.writer._finalizer, "publish_pending", lambda _: None)
        late = uuid7()
        _before(away, runtime.admission, "announce", lambda: runtime.admission.retract(late))
        with pytest.raises(GenerationLost):
            runtime.generations.accept(session, "And?", late)
    with monkeypatch.context() as away:
        away.setattr(runtime.writer._finalizer, "_settle", lambda *_: False)
        with pytest.raises(GenerationInProgress):
            runtime.actions.claim(session, user)
    claimed = runtime.actions.claim(session, user)
    assert ANSWER in [each.text for each in runtime.transcript.read(claimed).messages]


def test_a_word_that_comes_after_a_claim_is_removed(runtime: Runtime) -> None:
    session = _create(runtime)
    runtime.actions.claim(session, new_user(runtime.database))
    runtime.redis.rpush(keys(session.id)[3], "late")
    assert runtime.removals.remove_if_gone(session)
    assert not runtime.redis.exists(keys(session.id)[3])


def test_a_question_with_an_id_from_before_is_refused(runtime: Runtime, session: Session) -> None:
    behind = uuid7()
    runtime.generations.accept(session, "Why?")
    runtime.writer.run()
    with pytest.raises(GenerationInProgress):
        runtime.generations.accept(session, "And?", behind)
    assert len(_states(runtime, session)) == 2


def test_a_log_that_has_the_end_is_not_begun_anew(runtime: Runtime, session: Session) -> None:
    attempt = _claim(runtime, session)
    answers = runtime.generation_events
    runtime.event_loop.run(answers.append_delta(attempt, "Because", 0))
    assert runtime.writer._finalizer.finalize(attempt, Outcome(GenerationState.DONE))
    with pytest.raises(Fenced):
        answers._restore(attempt)
    assert [event.type for event in _events(runtime, session)][-1] == "done"


def test_an_end_that_comes_first_leaves_no_key_of_a_session_that_is_gone(
    runtime: Runtime, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = uuid7()

    def deleted() -> None:
        _before(monkeypatch, runtime.generation_events, "append_end", lambda: runtime.actions.end(session))
        with suppress(SessionInvalid):
            runtime.admission.retract(late)

    _before(monkeypatch, runtime.admission, "announce", deleted)
    with pytest.raises(SwitchboardError):
        runtime.generations.accept(session, "Why?", late)
    assert list(runtime.redis.scan_iter(f"*{session.id}*:log")) == []
    assert not runtime.redis.exists(*keys(session.id))
