"""Questions that wait until the answer before them has ended, or that interrupt it."""

import random
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from uuid_utils.compat import uuid7

from core.conversation.keys import keys
from core.conversation.position import Position
from core.errors import (
    GenerationInProgress,
    GenerationLost,
    NothingToStop,
    NotWaiting,
    TooManyWaiting,
    Unavailable,
)
from core.generation.admission import Taken
from core.generation.finalizer import Outcome
from core.generation.waiting import MAX_WAITING
from core.limits.rate import Rate
from core.limits.status import RateLimited
from core.runtime import Runtime
from core.settings import Settings
from core.stores.tables import GenerationState, Session, Waiting
from tests.conftest import new_user
from tests.core.generation.asking import Asked, ask
from tests.support.provider import ANSWER, ProviderServer
from tests.support.waiting import wait_for


@pytest.fixture
def runtime(settings: Settings, any_database_url: str) -> Iterator[Runtime]:
    """A process, once over each database."""
    parts = Runtime(settings.model_copy(update={"configured_database_url": any_database_url}))
    yield parts
    parts.close()


def _busy(runtime: Runtime, provider: ProviderServer, *, owned: bool = False) -> tuple[Asked, threading.Thread]:
    """An answer in the middle of being written."""
    provider.go_on.clear()
    asked = ask(runtime, "paused", owned=owned)
    worker = threading.Thread(target=_work, args=(runtime,), daemon=True)
    worker.start()
    wait_for(lambda: asked.written().text.startswith("Wait."))
    return asked, worker


def _work(runtime: Runtime) -> None:
    """What a chat worker's thread does until nothing waits."""
    while runtime.writer.run() is not None:
        pass


def _queue(asked: Asked, message: str, generation_id: UUID | None = None) -> UUID:
    accepted = asked.runtime.generations.accept(asked.session, message, generation_id, while_busy="queue")
    assert accepted.describe()["state"] == "waiting"
    return accepted.generation_id


def _listed(asked: Asked) -> list[tuple[UUID, str, int]]:
    return [each[:3] for each in asked.runtime.waiting.list(asked.session)]


def _said(asked: Asked) -> list[tuple[str, str]]:
    messages = asked.runtime.transcript.read(asked.session).messages
    return [(message.text if message.role == "user" else "", message.state) for message in messages]


def _log(asked: Asked) -> list[tuple[str, str]]:
    events = asked.runtime.log.read(asked.session.id, after=0).events
    assert [event.offset for event in events] == list(range(1, len(events) + 1))
    return [(event.type, event.data) for event in events if event.type not in ("delta", "thinking")]


def _lives(asked: Asked) -> list[str]:
    """When answers have begun to be live, whatever their place in the queue, and how that has ended."""
    one = re.compile(r'"generation_id":"([^"]+)"')
    kinds = ("queued", "done", "stopped", "failed")
    told = dict.fromkeys((kind, *one.findall(data)) for kind, data in _log(asked) if kind in kinds)
    return [kind for kind, *_ in told]


def _left_in_redis(asked: Asked) -> list[Any]:
    fields = asked.runtime.redis.hkeys(keys(asked.session.id).meta)
    return [field for field in fields if str(field).startswith("waiting:")]


def _ended(asked: Asked, generation_id: UUID) -> str:
    one = Asked(asked.runtime, asked.session, generation_id)
    return str(wait_for(lambda: one.row() if one.row().finished_at else None, seconds=20).state)


@pytest.mark.parametrize("owned", [False, True])
def test_questions_wait_in_order_and_can_be_edited_and_taken_back(
    runtime: Runtime, provider: ProviderServer, owned: bool
) -> None:
    asked, worker = _busy(runtime, provider, owned=owned)
    first, second, third = _queue(asked, "First?"), _queue(asked, "Second?"), _queue(asked, "Third?")
    assert _listed(asked) == [(first, "First?", 0), (second, "Second?", 1), (third, "Third?", 2)]
    assert runtime.waiting.edit(asked.session, third, "Third, then?").position == 2
    runtime.waiting.remove(asked.session, second)
    assert _listed(asked) == [(first, "First?", 0), (third, "Third, then?", 1)]
    with pytest.raises(NotWaiting):
        runtime.waiting.edit(asked.session, second, "Again?")
    stranger = ask(runtime, "good", owned=owned)
    with pytest.raises(NotWaiting):
        runtime.waiting.remove(stranger.session, first)
    assert _queue(asked, "First?", first) == first, "repeated"
    assert len(_listed(asked)) == 2
    if not owned:
        with runtime.database.reading() as db:
            assert set(db.scalars(select(Waiting.text)).all()) == {None}, "a guest's words are in Redis only"

    provider.go_on.set()
    worker.join(20)
    assert (_ended(asked, first), _ended(asked, third)) == ("done", "done")
    assert _said(asked) == [
        ("Why?", "complete"),
        ("", "complete"),
        ("First?", "complete"),
        ("", "complete"),
        ("Third, then?", "complete"),
        ("", "complete"),
    ]
    assert (_listed(asked), _left_in_redis(asked)) == ([], [])
    told = [kind for kind, data in _log(asked) if str(second) in data]
    assert told == ["waiting", "removed"]
    assert _lives(asked) == ["queued", "done"] * 3, "one is live at a time"
    with pytest.raises(NotWaiting):
        runtime.waiting.remove(asked.session, first)


def test_an_interrupting_question_stops_the_answer_and_comes_before_those_that_wait(
    runtime: Runtime, provider: ProviderServer
) -> None:
    asked, worker = _busy(runtime, provider, owned=True)
    waits = _queue(asked, "Later?")
    with pytest.raises(GenerationInProgress):
        runtime.generations.accept(asked.session, "Refused?")
    now = runtime.generations.accept(asked.session, "Now?", while_busy="interrupt")
    wait_for(lambda: asked.row().finished_at)
    provider.go_on.set()
    worker.join(20)
    assert (_ended(asked, now.generation_id), _ended(asked, waits)) == ("done", "done")
    assert asked.row().state == "stopped"
    assert [words for words, _ in _said(asked) if words] == ["Why?", "Now?", "Later?"]
    assert runtime.transcript.read(asked.session).messages[1].text.startswith("Wait."), "what was shown is kept"


def test_an_answer_that_no_worker_has_begun_is_interrupted_at_once(runtime: Runtime) -> None:
    asked = ask(runtime, "good")
    accepted = runtime.generations.accept(asked.session, "Now?", while_busy="interrupt")
    assert (accepted.describe()["state"], accepted.to_wake) == ("queued", accepted.generation_id)
    assert asked.row().state == "stopped"
    free = ask(runtime, "good")
    runtime.generations.stop(free.session)
    assert runtime.generations.accept(free.session, "Free?", while_busy="queue").describe()["state"] == "queued"


@pytest.mark.parametrize("owned", [False, True])
def test_what_is_stopped_on_its_way_to_the_queue_begins_and_stops(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, owned: bool
) -> None:
    asked = ask(runtime, "good", owned=owned)
    waits = _queue(asked, "Next?")
    announce = runtime.admission.announce

    def stop_first(taken: Taken) -> Position:
        runtime.generations.stop(asked.session)
        return announce(taken)

    monkeypatch.setattr(runtime.admission, "announce", stop_first)
    runtime.generations.stop(asked.session)
    runtime.promotion.promote(asked.session.id)
    assert _ended(asked, waits) == "stopped"
    accepted = runtime.generations.accept(asked.session, "Last?")
    assert _ended(asked, accepted.generation_id) == "stopped"
    assert _lives(asked) == ["queued", "stopped"] * 3
    assert [words for words, _ in _said(asked) if words] == ["Why?", "Next?", "Last?"]


def test_whoever_dies_on_the_way_another_promotes_once(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ask(runtime, "good")
    attempt = runtime.attempts.claim(asked.generation_id)
    assert attempt is not None
    waits = _queue(asked, "Next?")
    assert runtime.finalizer.finalize(attempt, Outcome(GenerationState.STOPPED))  # and its worker dies
    with pytest.raises(GenerationInProgress):  # nobody slips in between
        runtime.generations.accept(asked.session, "First!")
    if asked.session.anonymous:
        with pytest.raises(GenerationInProgress):
            runtime.actions.claim(asked.session, new_user(runtime.database))
    with monkeypatch.context() as dying:
        dying.setattr(runtime.queue, "enqueue", _die)
        with pytest.raises(Unavailable):
            runtime.promotion.promote(asked.session.id)
    assert _listed(asked) == [], "its turn has come"
    racers = [threading.Thread(target=runtime.reaper.reap) for _ in range(3)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert runtime.reaper.reap().promoted == ()
    _work(runtime)
    assert _ended(asked, waits) == "done"
    assert [words for words, _ in _said(asked) if words] == ["Why?", "Next?"]
    assert [kind for kind, data in _log(asked) if str(waits) in data] == ["waiting", "queued", "started", "done"]


def test_two_that_promote_at_once_lose_no_words(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ask(runtime, "good")
    waits = _queue(asked, "Next?")
    with monkeypatch.context() as dying:
        dying.setattr(runtime.queue, "enqueue", _die)
        with suppress(Unavailable):
            runtime.generations.stop(asked.session)
            runtime.promotion.promote(asked.session.id)
    words = runtime.waiting.words

    def another_was_faster(session: Session, waiting: Waiting) -> str | None:
        monkeypatch.undo()
        assert runtime.promotion.promote(asked.session.id) == waits
        return words(session, waiting)

    monkeypatch.setattr(runtime.waiting, "words", another_was_faster)
    runtime.promotion.promote(asked.session.id)
    _work(runtime)
    assert _ended(asked, waits) == "done"


def _die(*_: object) -> None:
    raise Unavailable


def test_what_the_limits_refuse_for_long_fails_for_all_to_see(settings: Settings, any_database_url: str) -> None:
    rates = {"limit_messages_anonymous": Rate(1, 3_600_000_000, 1), "configured_database_url": any_database_url}
    runtime = Runtime(settings.model_copy(update=rates))
    asked = ask(runtime, "good")
    attempt = runtime.attempts.claim(asked.generation_id)
    assert attempt is not None
    waits = _queue(asked, "Too much?")
    runtime.finalizer.finalize(attempt, Outcome(GenerationState.STOPPED))
    assert runtime.reaper.reap().promoted == ()
    assert _said(asked)[-2:] == [("Too much?", "complete"), ("", "failed")]
    failed = runtime.transcript.read(asked.session).messages[-1]
    assert failed.problem is not None
    assert (failed.id, failed.problem["type"]) == (str(waits), "/problems/rate-limited")
    assert _listed(asked) == []
    runtime.close()


def test_what_waits_has_a_bound_and_goes_with_its_session(runtime: Runtime, redis: Any) -> None:
    asked = ask(runtime, "good")
    for number in range(MAX_WAITING):
        _queue(asked, f"Question {number}?")
    with pytest.raises(TooManyWaiting):
        runtime.generations.accept(asked.session, "One more?", uuid7(), while_busy="interrupt")
    assert len(_left_in_redis(asked)) == MAX_WAITING, "none of what was refused"
    assert not asked.row().stop_requested
    runtime.actions.end(asked.session)
    with runtime.database.reading() as db:
        assert db.scalars(select(Waiting)).all() == []
    assert redis.keys(f"*{asked.session.id}*") == []


def test_a_question_whose_words_redis_has_lost_is_taken_back(runtime: Runtime, redis: Any) -> None:
    asked = ask(runtime, "good")
    attempt = runtime.attempts.claim(asked.generation_id)
    assert attempt is not None
    waits = _queue(asked, "Lost?")
    redis.flushall()
    runtime.finalizer.finalize(attempt, Outcome(GenerationState.STOPPED))
    runtime.reaper.reap()
    assert _listed(asked) == []
    assert [kind for kind, data in _log(asked) if str(waits) in data] == ["removed"]
    assert ANSWER not in str(_log(asked))
    runtime.generations.accept(asked.session, "Free again?")


def test_one_that_has_waited_mends_its_log_also_if_an_interrupting_one_came_before_it(
    runtime: Runtime, redis: Any
) -> None:
    asked = ask(runtime, "good")
    waits = _queue(asked, "Later?")
    now = runtime.generations.accept(asked.session, "Now?", while_busy="interrupt").generation_id
    runtime.writer.run()
    attempt = runtime.attempts.claim(waits)
    assert attempt is not None
    runtime.event_loop.run(runtime.generation_events.append_started(attempt))
    redis.hset(keys(asked.session.id).meta, "generation", str(now))  # it came back with what it had a moment ago
    runtime.event_loop.run(runtime.generation_events.append_delta(attempt, "Late.", 0))
    assert runtime.transcript.written(asked.session.id, waits).text == "Late."


REFUSALS = (TooManyWaiting, NotWaiting, NothingToStop, GenerationInProgress, GenerationLost, RateLimited)


def test_each_question_is_answered_once_or_taken_back_whatever_happens_at_the_same_time(runtime: Runtime) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    asked = ask(runtime, "good", owned=True)
    accepted, removed = {asked.generation_id}, set[UUID]()
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            _work(runtime)
            runtime.reaper.reap()

    def ask_and_change_their_mind(dice: random.Random) -> None:
        mine = asked.generation_id
        for number in range(8):
            with suppress(*REFUSALS):
                match dice.choice(["queue", "queue", "interrupt", "reject", "stop", "edit", "remove", "promote"]):
                    case "queue" | "interrupt" | "reject" as busy:
                        mine = uuid7()
                        runtime.generations.accept(asked.session, f"{number}?", mine, while_busy=busy)
                        accepted.add(mine)
                    case "stop":
                        runtime.generations.stop(asked.session)
                    case "edit":
                        runtime.waiting.edit(asked.session, mine, "Otherwise?")
                    case "remove":
                        runtime.waiting.remove(asked.session, mine)
                        removed.add(mine)
                    case _:
                        runtime.promotion.promote(asked.session.id)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(2)]
    people = [threading.Thread(target=ask_and_change_their_mind, args=(random.Random(seed + n),)) for n in range(4)]
    for thread in (*workers, *people):
        thread.start()
    for person in people:
        person.join(60)
    wait_for(lambda: not (_listed(asked) or runtime.generations.active(asked.session.id)), seconds=30)
    over.set()
    for worker in workers:
        worker.join(10)

    log = _log(asked)
    for each in accepted - removed:
        ends = [kind for kind, data in log if kind in ("done", "stopped", "failed") and str(each) in data]
        assert len(ends) == 1, (each, ends)
    for each in removed:
        assert [kind for kind, data in log if str(each) in data][-1] == "removed"
    live = _lives(asked)
    assert all(kind != "queued" for kind in live[1::2]), "one at a time"
    assert all(kind == "queued" for kind in live[::2])
    messages = list(runtime.transcript.oldest_first(asked.session))
    assert [each.role for each in messages[1::2]] == ["assistant"] * len(accepted - removed)
    assert {each.id for each in messages[1::2]} == {str(each) for each in accepted - removed}
    assert [finding for finding in runtime.invariants.check() if finding.ids] == []
