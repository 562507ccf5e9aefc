"""What is counted of answers: each once, whatever dies."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from core.errors import Unavailable
from core.runtime import Runtime
from core.settings import Settings
from core.stores.tables import Generation
from tests.conftest import TurnableClock
from tests.core.generation.asking import Asked, ask
from tests.support.counted import tallied
from tests.support.valkey import Valkey


@pytest.fixture
def runtime(settings: Settings, any_database_url: str, clock: TurnableClock) -> Iterator[Runtime]:
    """A process whose clock the test turns."""
    parts = Runtime(settings.model_copy(update={"configured_database_url": any_database_url}), clock=clock)
    yield parts
    parts.close()


def _answers(runtime: Runtime, outcome: str) -> float:
    return tallied(runtime, "switchboard_answers_total", outcome=outcome)


def _end(runtime: Runtime, asked: Asked) -> Generation:
    asked.write().join(20)
    with runtime.database.reading() as db:
        return db.get_one(Generation, asked.generation_id)


def test_an_answer_is_counted_once_with_all_that_is_known_of_it(runtime: Runtime) -> None:
    row = _end(runtime, ask(runtime, "good"))
    counted = [runtime.tally.count_ended() for _ in range(3)]
    assert counted == [1, 0, 0]
    assert tallied(runtime, "switchboard_answers_total", model="good", outcome="done", reason="stop") == 1
    for kind, tokens in (("input", row.prompt_tokens), ("output", row.completion_tokens)):
        assert tallied(runtime, "gen_ai_client_token_usage_sum", gen_ai_token_type=kind) == tokens
        assert tallied(runtime, "gen_ai_client_token_usage_count", gen_ai_token_type=kind) == 1
    assert tallied(runtime, "gen_ai_server_time_to_first_token_seconds_count", gen_ai_request_model="good") == 1
    assert tallied(runtime, "gen_ai_server_request_duration_seconds_count", gen_ai_request_model="good") == 1
    assert tallied(runtime, "switchboard_answer_queue_wait_seconds_count", model="good") == 1
    assert tallied(runtime, "switchboard_takeovers_total") == 0


def test_those_who_count_at_once_count_together(runtime: Runtime) -> None:
    for _ in range(4):
        _end(runtime, ask(runtime, "good"))
    counters = [threading.Thread(target=runtime.tally.count_ended) for _ in range(6)]
    for each in counters:
        each.start()
    for each in counters:
        each.join(20)
    runtime.tally.count_ended()  # what some have left to those who had it locked
    assert _answers(runtime, "done") == 4


def test_what_goes_with_its_session_is_counted_before(runtime: Runtime, clock: TurnableClock) -> None:
    """Once: an end that was counted, one that was not, and an answer that has none."""
    _end(runtime, ask(runtime, "good"))
    runtime.tally.count_ended()
    _end(runtime, ask(runtime, "good"))
    ask(runtime, "good")
    clock.turn(timedelta(days=1, minutes=1))
    assert runtime.sweeper.sweep_expired() == 3
    assert runtime.tally.count_ended() == 0
    assert (_answers(runtime, "done"), _answers(runtime, "deleted")) == (2, 1)


def test_a_question_that_is_retracted_is_no_answer(runtime: Runtime) -> None:
    runtime.admission.retract(ask(runtime, "good").generation_id)
    assert runtime.tally.count_ended() == 0


def test_hand_offs_and_takeovers_are_told_apart(runtime: Runtime, clock: TurnableClock) -> None:
    handed_off, lost = ask(runtime, "good"), ask(runtime, "good")
    for asked in (handed_off, lost):
        attempt = runtime.attempts.claim(asked.generation_id)
        assert attempt is not None
        if asked is handed_off:
            runtime.attempts.hand_off(attempt)
    clock.turn(runtime.settings.lease + timedelta(seconds=1))
    assert runtime.reaper.reap().handed_off == (lost.generation_id,)
    for _ in range(2):
        _end(runtime, lost)
    runtime.tally.count_ended()
    assert _answers(runtime, "done") == 2
    assert tallied(runtime, "switchboard_hand_offs_total") == 1
    assert tallied(runtime, "switchboard_takeovers_total") == 1


def test_an_end_that_redis_has_not_heard_of_counts_like_any_other(
    settings: Settings, own_valkey: Valkey, clock: TurnableClock
) -> None:
    parts = Runtime(settings.model_copy(update={"configured_redis_url": own_valkey.url}), clock=clock)
    asked = ask(parts, "good")
    attempt = parts.attempts.claim(asked.generation_id)
    assert attempt is not None
    own_valkey.stop()
    with pytest.raises(Unavailable):
        parts.generations.stop(asked.session)
    clock.turn(parts.settings.lease + timedelta(seconds=1))
    own_valkey.start()
    for _ in range(3):
        parts.reaper.reap()
    assert _answers(parts, "stopped") == 1
    assert tallied(parts, "switchboard_takeovers_total") == 1
    parts.close()
