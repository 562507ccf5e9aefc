"""The order of the queue, and the positions that its readers are told."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event
from uuid_utils.compat import uuid7

from core.generation.attempts import QUEUE_TIMEOUT
from core.generation.finalizer import Outcome
from core.generation.scheduler import MAX_QUEUE_WAIT, VIRTUAL_STEP, Claim
from core.llm.providers import openai_compatible  # noqa: F401  half a second that no first token should wait for
from core.llm.providers.base import ErrorKind, ProviderError
from core.runtime import Runtime
from core.stores.combiner import Combiner
from core.stores.tables import Generation, GenerationState, Session
from tests.conftest import TurnableClock, new_user
from tests.support.provider import ProviderServer
from tests.support.waiting import wait_for


@pytest.fixture
def runtime(settings: Any, any_database_url: str, clock: TurnableClock) -> Iterator[Runtime]:
    """A process whose clock the test turns, on either database."""
    options = {"configured_database_url": any_database_url, "concurrent_user": 50, "limit_messages_user": None}
    parts = Runtime(settings.model_copy(update=options), clock=clock)
    yield parts
    parts.close()


def _ask(runtime: Runtime, owner: UUID | None = None, model: str = "good") -> UUID:
    with runtime.database.writing() as db:
        secret_hash = None if owner else bytes(32)
        session = runtime.sessions.create_session(db, owner, secret_hash=secret_hash, model=model)
    return runtime.generations.accept(session, "Why?").generation_id


def _row(runtime: Runtime, generation_id: UUID) -> Generation:
    with runtime.database.reading() as db:
        return db.get_one(Generation, generation_id)


def _served(runtime: Runtime, answers: int) -> list[UUID]:
    """The order in which so many answers are begun."""
    order = []
    for _ in range(answers):
        claim = runtime.queue.claim_next()
        assert claim is not None
        order.append(claim.attempt.generation_id)
    return order


def _positions(runtime: Runtime, generation_id: UUID) -> list[int]:
    events = runtime.log.read(_row(runtime, generation_id).session_id, after=0).events
    return [json.loads(event.data)["position"] for event in events if event.type == "queued"]


def _next_second(runtime: Runtime) -> None:
    runtime.redis.delete("sb:line")


def test_the_first_to_come_is_first(runtime: Runtime, clock: TurnableClock) -> None:
    came = []
    for _ in range(5):
        came.append(_ask(runtime))
        clock.turn(timedelta(milliseconds=10))
    assert runtime.queue.waiting() == came
    assert _served(runtime, 5) == came
    assert runtime.queue.claim_next() is None


def test_many_messages_of_one_owner_do_not_keep_others_waiting(runtime: Runtime, clock: TurnableClock) -> None:
    busy = new_user(runtime.database)
    many = [_ask(runtime, busy) for _ in range(6)]
    clock.turn(timedelta(seconds=1))
    late = [_ask(runtime), _ask(runtime, new_user(runtime.database))]

    assert _served(runtime, 8) == [many[0], *late, *many[1:]]


def test_owners_with_many_messages_take_turns(runtime: Runtime, clock: TurnableClock) -> None:
    first, second = new_user(runtime.database), new_user(runtime.database)
    mine = [_ask(runtime, first) for _ in range(3)]
    clock.turn(timedelta(seconds=1))
    yours = [_ask(runtime, second) for _ in range(3)]
    assert _served(runtime, 6) == [mine[0], yours[0], mine[1], yours[1], mine[2], yours[2]]


def test_newcomers_never_put_off_what_has_waited_long_enough(runtime: Runtime, clock: TurnableClock) -> None:
    busy = new_user(runtime.database)
    _, waiting = _ask(runtime, busy), _ask(runtime, busy)
    clock.turn(VIRTUAL_STEP + timedelta(seconds=1))
    newcomers = [_ask(runtime) for _ in range(3)]
    assert _served(runtime, 5)[1:] == [waiting, *newcomers]


def test_what_a_worker_hands_on_is_next(runtime: Runtime, clock: TurnableClock) -> None:
    begun = _ask(runtime)
    claim = runtime.queue.claim_next()
    assert claim is not None
    clock.turn(timedelta(seconds=1))
    later = _ask(runtime)
    runtime.attempts.hand_off(claim.attempt)
    claim.slot.release()
    assert _served(runtime, 2) == [begun, later]


def test_a_model_without_a_free_slot_keeps_nobody_elses_waiting(
    runtime: Runtime, clock: TurnableClock, provider: ProviderServer
) -> None:
    waiting = [_ask(runtime, model="one-at-a-time") for _ in range(3)]
    clock.turn(timedelta(seconds=1))
    other = _ask(runtime)
    first = runtime.queue.claim_next()
    assert first is not None
    assert first.attempt.generation_id == waiting[0]
    assert _served(runtime, 1) == [other]
    assert runtime.queue.claim_next() is None

    first.slot.release()

    assert _served(runtime, 1) == [waiting[1]]


def test_a_model_that_rests_is_not_waited_for(runtime: Runtime, tmp_path: Path) -> None:
    models = tmp_path / "models.toml"
    with_fallback = 'max_concurrency = 1\nfallback = ["good"]'
    models.write_text(runtime.settings.models_path.read_text().replace("max_concurrency = 1", with_fallback))
    parts = Runtime(runtime.settings.model_copy(update={"models_path": models}), clock=runtime.clock)
    for _ in range(2):
        _ask(parts, model="one-at-a-time")
    assert _served(parts, 1)
    assert parts.queue.claim_next() is None
    parts.cooldowns.note_failure("one-at-a-time", ProviderError(ErrorKind.UNREACHABLE), uuid7())
    instead = parts.queue.claim_next()
    assert instead is not None
    assert instead.slot.model == "good"
    parts.close()


def test_a_model_that_has_been_retired_blocks_nobody(runtime: Runtime) -> None:
    retired = _ask(runtime)
    with runtime.database.writing() as db:
        db.get_one(Generation, retired).model = "retired"
    other = _ask(runtime)

    runtime.writer.run()
    runtime.writer.run()

    assert (_row(runtime, retired).state, _row(runtime, retired).finish_reason) == ("failed", "unknown-model")
    assert _row(runtime, other).state == "done"


def test_many_workers_at_once_take_everybody_once(runtime: Runtime) -> None:
    came = {_ask(runtime) for _ in range(8)}
    taken: list[UUID] = []

    def take() -> None:
        other = Runtime(runtime.settings, clock=runtime.clock)
        while (claim := other.queue.claim_next()) is not None:
            taken.append(claim.attempt.generation_id)
        other.close()

    workers = [threading.Thread(target=take) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(taken) == sorted(came)


def test_waiting_readers_are_told_when_they_move_up(runtime: Runtime) -> None:
    waiting = [_ask(runtime, model="one-at-a-time") for _ in range(4)]
    assert [_positions(runtime, each) for each in waiting] == [[0], [1], [2], [3]]
    first = runtime.queue.claim_next()
    assert first is not None
    assert [_positions(runtime, each) for each in waiting[1:]] == [[1, 0], [2, 1], [3, 2]]
    runtime.queue.publish_positions()  # no position has changed
    first.slot.release()
    assert runtime.queue.claim_next() is not None
    # That was within the same second: the reaper, or the next move, tells of it.
    assert [_positions(runtime, each) for each in waiting[2:]] == [[2, 1], [3, 2]]
    runtime.reaper.reap()
    assert [_positions(runtime, each) for each in waiting[2:]] == [[2, 1, 0], [3, 2, 1]]


def test_they_are_told_as_well_when_a_worker_gets_just_what_it_was_woken_for(runtime: Runtime) -> None:
    first = _ask(runtime)
    assert _served(runtime, 1) == [first]
    woken, waiting = _ask(runtime), _ask(runtime)
    claim = runtime.queue.claim_next(woken)
    assert claim is not None
    assert claim.attempt.generation_id == woken
    assert _positions(runtime, waiting) == [1, 0]


def test_the_place_that_is_told_at_first_is_the_fair_one(runtime: Runtime) -> None:
    busy = new_user(runtime.database)
    for _ in range(4):
        _ask(runtime, busy)
    assert _positions(runtime, _ask(runtime)) == [1]


def test_a_stopped_generation_leaves_the_queue(runtime: Runtime) -> None:
    first, second = _ask(runtime), _ask(runtime)
    with runtime.database.reading() as db:
        session = db.get_one(Session, _row(runtime, first).session_id)
    runtime.generations.stop(session)
    assert runtime.queue.waiting() == [second]
    runtime.reaper.reap()
    assert _positions(runtime, second) == [1, 0]


def test_a_line_that_moves_is_worth_waiting_in_but_not_for_ever(runtime: Runtime, clock: TurnableClock) -> None:
    for _ in range(20):
        _ask(runtime, model="one-at-a-time")
    last = _ask(runtime, model="one-at-a-time")
    waited = timedelta(0)
    while _row(runtime, last).state == GenerationState.QUEUED:
        _next_second(runtime)
        claim = runtime.queue.claim_next()
        assert claim is not None
        runtime.finalizer.finalize(claim.attempt, Outcome(GenerationState.DONE))
        claim.slot.release()
        clock.turn(QUEUE_TIMEOUT - timedelta(seconds=5))
        waited += QUEUE_TIMEOUT - timedelta(seconds=5)
        runtime.reaper.reap()
    assert MAX_QUEUE_WAIT < waited <= MAX_QUEUE_WAIT + 2 * QUEUE_TIMEOUT


def test_a_line_that_does_not_move_ends_with_a_plain_reason(runtime: Runtime, clock: TurnableClock) -> None:
    waiting = _ask(runtime)
    clock.turn(QUEUE_TIMEOUT + timedelta(seconds=1))
    runtime.reaper.reap()
    event = runtime.log.read(_row(runtime, waiting).session_id, after=0).events[-1]
    assert event.type == "failed"
    assert json.loads(event.data)["problem"]["detail"] == "No worker was free to answer in time. Please ask again."


def test_whoever_ends_an_answer_calls_the_next(runtime: Runtime) -> None:
    _, second, third = (_ask(runtime) for _ in range(3))
    assert runtime.writer.run() == second
    assert runtime.writer.run() == third
    assert runtime.writer.run() is None


def test_the_reaper_calls_those_whose_task_was_lost(runtime: Runtime) -> None:
    waiting = _ask(runtime)
    assert runtime.reaper.reap().waiting == (waiting,)
    runtime.writer.run()
    assert runtime.reaper.reap().waiting == ()


def test_a_process_that_is_to_stop_takes_nobody(runtime: Runtime) -> None:
    waiting = _ask(runtime)
    runtime.writer.stopping.set()
    assert runtime.writer.run() == waiting
    assert _row(runtime, waiting).state == GenerationState.QUEUED


def test_the_wait_is_over_when_a_slot_is_free_again(runtime: Runtime, provider: ProviderServer) -> None:
    provider.go_on.clear()
    first, second = _ask(runtime, model="one-at-a-time"), _ask(runtime, model="one-at-a-time")
    called: list[UUID | None] = []
    writer = threading.Thread(target=lambda: called.append(runtime.writer.run()))
    writer.start()
    wait_for(lambda: _row(runtime, first).state == GenerationState.RUNNING)
    assert runtime.writer.run() is None
    provider.go_on.set()
    writer.join()
    assert called == [second]
    runtime.writer.run()
    assert _row(runtime, second).state == GenerationState.DONE


def _statements(runtime: Runtime, act: Callable[[], object]) -> list[str]:
    """What the database is told by an action."""
    told: list[str] = []

    def note(*arguments: Any) -> None:
        told.append(arguments[2])

    event.listen(runtime.database.engine, "before_cursor_execute", note)
    try:
        act()
    finally:
        event.remove(runtime.database.engine, "before_cursor_execute", note)
    return [statement for statement in told if not statement.startswith("BEGIN")]


def test_of_the_model_of_the_last_one_the_next_is_claimed_in_one_statement(runtime: Runtime) -> None:
    _ask(runtime)
    assert _served(runtime, 1)
    owner = new_user(runtime.database)
    woken = _ask(runtime, owner)
    claims: list[Claim | None] = []
    told = _statements(runtime, lambda: claims.append(runtime.queue.claim_next(woken)))
    assert [claim and claim.attempt.generation_id for claim in claims] == [woken]
    assert [statement.split()[0] for statement in told] == ["UPDATE", "SELECT", "WITH"]  # with session and words


def test_who_is_called_for_one_takes_the_one_at_the_front(runtime: Runtime, clock: TurnableClock) -> None:
    _ask(runtime)
    assert _served(runtime, 1)
    first = _ask(runtime)
    clock.turn(timedelta(milliseconds=10))
    other_model = _ask(runtime, model="one-at-a-time")
    clock.turn(timedelta(milliseconds=10))
    woken = _ask(runtime)
    claims = [runtime.queue.claim_next(woken) for _ in range(3)]
    assert [claim and claim.attempt.generation_id for claim in claims] == [first, other_model, woken]
    assert [claim and claim.slot.model for claim in claims] == ["good", "one-at-a-time", "good"]
    assert runtime.queue.claim_next(woken) is None
    held = [str(holder)[:36] for holder in runtime.redis.zrange("sb:{limit}:slots:good", 0, -1)]
    assert {str(first), str(woken)} < set(held)
    assert len(held) == 3  # with that of the very first


def test_a_slot_of_the_likely_model_is_given_back_when_it_is_not_its_turn(runtime: Runtime) -> None:
    _ask(runtime)
    claim = runtime.queue.claim_next()
    assert claim is not None
    claim.slot.release()
    assert runtime.queue.claim_next(_ask(runtime, model="thinks")) is not None
    assert runtime.redis.zcard("sb:{limit}:slots:good") == 0


def test_workers_that_come_together_are_served_together(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    came = [_ask(runtime, new_user(runtime.database)) for _ in range(6)]
    came += [_ask(runtime, model="one-at-a-time") for _ in range(2)]
    claim_for = runtime.queue._claim_for
    gathered = threading.Event()

    def claim_late(woken: Sequence[UUID | None]) -> Any:
        assert gathered.wait(10)
        return claim_for(woken)

    runtime.queue._claims = Combiner(claim_late)
    claims: list[Claim | None] = []
    workers = [
        threading.Thread(target=lambda each=each: claims.append(runtime.queue.claim_next(each)))
        for each in [*came, uuid7()]
    ]

    def come_together() -> None:
        for worker in workers:
            worker.start()
        wait_for(lambda: len(runtime.queue._claims._waiting) == len(workers) - 1, what="the others wait")
        gathered.set()
        for worker in workers:
            worker.join()

    told = _statements(runtime, come_together)
    taken = [claim.attempt.generation_id for claim in claims if claim is not None]
    assert sorted(taken) == sorted(came[:-1])  # the provider of the last has no slot
    assert sum("RETURNING" in statement for statement in told) <= 4
    assert runtime.redis.zcard("sb:{limit}:slots:one-at-a-time") == 1
