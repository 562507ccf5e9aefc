"""Token budgets: reserved with the message, settled once with what the answer has come to."""

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from core.errors import SessionInvalid, Unavailable
from core.generation import usage
from core.generation.answer_requests import AnswerRequest
from core.limits.rate import SECOND, Rate, parse_budget
from core.limits.rate_limit import PREFIX, Bucket
from core.limits.status import RateLimited
from core.llm.providers.base import Sampling, Turn
from core.runtime import Runtime
from core.stores.redis import RedisUnavailable
from core.stores.tables import Generation, Session
from tests.conftest import TurnableClock, new_user
from tests.support.provider import ANSWER, THOUGHT, ProviderServer
from tests.support.waiting import wait_for

BUDGET = Rate(1000, 86_400 * SECOND, 1000)
RESERVED = 1 + 100
"""For `Why?`: its own tokens, and the models' longest answer."""
REPORTED = 7 + 11
"""What the provider says that an answer took."""


@pytest.fixture
def runtime(settings: Any, clock: TurnableClock) -> Iterator[Runtime]:
    """A process with small budgets, whose clock the test turns."""
    parts = Runtime(
        settings.model_copy(update={"limit_tokens_anonymous": BUDGET, "limit_tokens_user": BUDGET}), clock=clock
    )
    yield parts
    parts.close()


def _session(runtime: Runtime, owner: UUID | None = None, model: str = "good") -> Session:
    with runtime.database.writing() as db:
        secret_hash = None if owner else bytes(32)
        return runtime.sessions.create_session(db, owner, secret_hash=secret_hash, model=model)


def _left(runtime: Runtime, owner: UUID, *, durable: bool = False) -> int:
    """Of the budget. Asking costs one token. `durable`: the owner is a user."""
    bucket = Bucket("tokens", str(owner), BUDGET, durable=durable)
    return runtime.limiter.charge([bucket]).limit_statuses[0].remaining + 1


def _row(runtime: Runtime, generation_id: UUID) -> Generation:
    with runtime.database.reading() as db:
        return db.get_one(Generation, generation_id)


def _reserved(runtime: Runtime) -> list[str]:
    return list(runtime.redis.scan_iter(f"{PREFIX}reserved:*"))


def test_a_message_reserves_and_its_answer_settles(runtime: Runtime) -> None:
    session = _session(runtime)
    accepted = runtime.generations.accept(session, "Why?")
    tokens = next(limit_status for limit_status in accepted.limit_statuses if limit_status.policy == "tokens")
    assert (tokens.quota, tokens.remaining) == (1000, 1000 - RESERVED)
    assert _reserved(runtime) == [f"{PREFIX}reserved:{session.id}"]

    runtime.writer.run()

    row = _row(runtime, accepted.generation_id)
    assert (row.prompt_tokens, row.completion_tokens, row.settled_tokens) == (7, 11, REPORTED)
    assert _left(runtime, session.id) == 1000 - REPORTED
    assert _reserved(runtime) == []


def test_a_users_sessions_share_one_budget(runtime: Runtime) -> None:
    owner = new_user(runtime.database)
    for _ in range(2):
        runtime.generations.accept(_session(runtime, owner), "Why?")
        runtime.writer.run()
    assert _left(runtime, owner, durable=True) == 1000 - 2 * REPORTED


def test_money_is_reserved_settled_and_refused_and_a_day_does_not_forget_it(settings: Any) -> None:
    runtime = Runtime(settings.model_copy(update={"limit_cost_user": parse_budget("0.0003/30d")}))
    session = _session(runtime, new_user(runtime.database))
    spent = 36  # 7 tokens at 1.5 and 11 at 2.25 millionths, rounded up
    for asked in range(3):
        runtime.redis.delete(f"{PREFIX}salt")
        runtime.close()
        runtime = Runtime(runtime.settings)
        accepted = runtime.generations.accept(session, "Why?")
        cost = next(each for each in accepted.limit_statuses if each.policy == "cost")
        # The question, and the longest answer: 1 token at 1.5 and 100 at 2.25.
        assert (cost.quota, cost.remaining) == (300, 300 - asked * spent - 227)
        runtime.writer.run()
        assert _row(runtime, accepted.generation_id).cost == spent
    with pytest.raises(RateLimited) as refused:
        runtime.generations.accept(session, "Why?")
    assert refused.value.problem()["limit"] == "cost"
    # 227 are needed and 192 are there; one comes back in 8640 s.
    assert refused.value.retry_after == pytest.approx(35 * 8640, abs=60)
    runtime.close()


def test_a_spent_budget_refuses_says_until_when_and_leaves_nothing(settings: Any) -> None:
    runtime = Runtime(settings.model_copy(update={"limit_tokens_anonymous": Rate(120, 86_400 * SECOND, 120)}))
    session = _session(runtime)
    runtime.generations.accept(session, "Why?")
    runtime.writer.run()
    assert runtime.generations.accept(session, "Why?").limit_statuses[1].remaining == 120 - REPORTED - RESERVED
    runtime.writer.run()
    with pytest.raises(RateLimited) as refused:
        runtime.generations.accept(session, "Why?")
    assert refused.value.problem()["limit"] == "tokens"
    # 36 of 120 tokens are spent, and 101 are needed: 17 must come back first, each in 720 s.
    assert refused.value.retry_after == pytest.approx(17 * 720, abs=60)
    messages = next(
        limit_status for limit_status in refused.value.limit_statuses if limit_status.policy == "messages"
    )
    assert messages.remaining == 13
    assert _reserved(runtime) == []
    assert runtime.redis.keys(f"{PREFIX}concurrent:*") == []
    runtime.close()


def test_a_message_that_costs_more_than_a_whole_budget_needs_a_full_one(settings: Any) -> None:
    runtime = Runtime(settings.model_copy(update={"limit_tokens_anonymous": Rate(50, 86_400 * SECOND, 50)}))
    session = _session(runtime)
    runtime.generations.accept(session, "Why?")
    runtime.writer.run()
    with pytest.raises(RateLimited):
        runtime.generations.accept(session, "Why?")
    runtime.close()


def test_what_nobody_has_seen_is_not_counted(runtime: Runtime) -> None:
    session = _session(runtime)
    accepted = runtime.generations.accept(session, "Why?")
    runtime.generations.stop(session)
    assert _row(runtime, accepted.generation_id).settled_tokens == 0
    assert _left(runtime, session.id) == 1000


ASKED = usage.prompt([Turn("system", "Be kind."), Turn("user", "Why?")])


@pytest.mark.parametrize(
    ("model", "spent"),
    [
        ("empty", (7, 11)),
        ("blank", (7, 11)),
        ("no-room", (7, 11)),
        ("only-thinks", (7, 11)),
        ("thinks-too-long", (7, 11)),
        ("wants-a-tool", (7, 11)),
        ("filtered", (7, 11)),
        ("silent", (ASKED, 0)),
        ("thinks-then-breaks", (ASKED, usage.tokens(THOUGHT))),
        ("filtered-then-falls-back", (7, 11)),
        *((model, (0, 0)) for model in ("away", "unauthorized", "rate-limited", "rejected", "broken")),
    ],
)
@pytest.mark.parametrize("owned", [False, True], ids=["guest", "owned"])
def test_the_prompt_of_an_answer_without_a_word_counts_once_if_the_server_has_taken_it(
    runtime: Runtime, model: str, spent: tuple[int, int], owned: bool
) -> None:
    owner = new_user(runtime.database) if owned else None
    session = _session(runtime, owner, model)
    accepted = runtime.generations.accept(session, "Why?")
    runtime.writer.run()
    row = _row(runtime, accepted.generation_id)
    assert (row.prompt_tokens, row.completion_tokens, row.settled_tokens) == (*spent, sum(spent))
    assert _left(runtime, owner or session.id, durable=owned) == 1000 - sum(spent)
    runtime.reaper.reap()
    if owner is not None:
        days = runtime.usage.for_user(owner, runtime.usage.last(2))
        assert sum(day.prompt_tokens for day in days) == spent[0]


@pytest.mark.parametrize("model", ["silent", "no-head", "thinks-slowly"])
def test_the_prompt_counts_also_when_its_asker_leaves_before_the_first_word(
    runtime: Runtime, provider: ProviderServer, model: str
) -> None:
    provider.go_on.clear()
    session = _session(runtime, model=model)
    accepted = runtime.generations.accept(session, "Why?")
    writer = threading.Thread(target=runtime.writer.run)
    before = len(provider.requests)
    writer.start()
    wait_for(lambda: len(provider.requests) > before)
    if model == "thinks-slowly":
        wait_for(lambda: runtime.transcript.written(session.id, accepted.generation_id).thinking)
    runtime.generations.stop(session)
    writer.join()
    row = _row(runtime, accepted.generation_id)
    assert (row.state, row.prompt_tokens) == ("stopped", ASKED)
    assert _left(runtime, session.id) == 1000 - (row.settled_tokens or 0) <= 1000 - ASKED


def test_a_prompt_counts_also_when_the_worker_that_asked_with_it_dies(runtime: Runtime, clock: TurnableClock) -> None:
    dying = Runtime(runtime.settings, clock=clock)
    session = _session(runtime, model="silent")
    accepted = runtime.generations.accept(session, "Why?")
    attempt = dying.attempts.claim(accepted.generation_id)
    assert attempt is not None
    attempt.usage_meter.ask([Turn("user", "x" * 400)], begun=False)
    for _ in range(2):
        dying.attempts.renew_all([attempt])
    assert _row(runtime, accepted.generation_id).prompt_tokens == 100
    runtime.generations.stop(session)
    clock.turn(timedelta(seconds=11))
    runtime.reaper.reap()
    row = _row(runtime, accepted.generation_id)
    assert (row.state, row.prompt_tokens, row.settled_tokens) == ("stopped", 100, 100)
    assert _left(runtime, session.id) == 1000 - 100
    dying.close()


def test_a_stop_sequence_that_comes_first_costs_the_prompt(runtime: Runtime) -> None:
    owner = new_user(runtime.database)
    request = AnswerRequest((Turn("user", "Why?"),), Sampling(stop=(ANSWER[:2],)))
    taken = runtime.generations.answer_request(owner, "good", request)
    runtime.writer.run()
    row = _row(runtime, taken.accepted.generation_id)
    assert (row.state, row.prompt_tokens, row.completion_tokens) == ("done", ASKED, 0)
    assert _left(runtime, owner, durable=True) == 1000 - ASKED


def test_of_a_stopped_answer_what_was_shown_is_counted(runtime: Runtime, provider: ProviderServer) -> None:
    provider.go_on.clear()
    session = _session(runtime, model="paused")
    accepted = runtime.generations.accept(session, "Why?")
    writer = threading.Thread(target=runtime.writer.run)
    writer.start()
    wait_for(lambda: runtime.transcript.written(session.id, accepted.generation_id).text.startswith("Wait.."))
    runtime.generations.stop(session)
    writer.join()
    shown = runtime.transcript.read(session).messages[-1].text
    row = _row(runtime, accepted.generation_id)
    assert (row.prompt_tokens, row.completion_tokens) == (ASKED, usage.tokens(shown))
    assert row.settled_tokens == ASKED + usage.tokens(shown)
    assert _left(runtime, session.id) == 1000 - row.settled_tokens


@pytest.mark.parametrize("model", ["repeating-cut", "prefilled-cut"])
def test_words_that_two_requests_have_written_are_counted_once(runtime: Runtime, model: str) -> None:
    session = _session(runtime, model=model)
    accepted = runtime.generations.accept(session, "Why?")
    runtime.writer.run()
    row = _row(runtime, accepted.generation_id)
    assert row.state == "done"
    assert row.completion_tokens == usage.tokens(ANSWER)
    done = runtime.log.read(session.id, after=0).events[-1]
    assert json.loads(done.data)["usage"]["completion_tokens"] == row.completion_tokens
    assert _left(runtime, session.id) == 1000 - (row.settled_tokens or 0)


def test_a_takeover_settles_once(runtime: Runtime, clock: TurnableClock) -> None:
    session = _session(runtime)
    accepted = runtime.generations.accept(session, "Why?")
    runtime.attempts.claim(accepted.generation_id)
    clock.turn(timedelta(seconds=11))
    runtime.reaper.reap()
    runtime.writer.run()
    assert _row(runtime, accepted.generation_id).settled_tokens == REPORTED
    assert _left(runtime, session.id) == 1000 - REPORTED


def test_a_settlement_that_redis_missed_is_made_up_for(
    runtime: Runtime, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = _session(runtime)
    accepted = runtime.generations.accept(session, "Why?")

    def away(*_: object, **__: object) -> None:
        raise Unavailable

    with monkeypatch.context() as patch:
        patch.setattr(runtime.message_limits, "settle", away)
        runtime.writer.run()
    assert _row(runtime, accepted.generation_id).settled_tokens is None
    assert _left(runtime, session.id) == 1000 - RESERVED
    clock.turn(timedelta(seconds=11))
    for _ in range(2):
        runtime.reaper.reap()
    assert _row(runtime, accepted.generation_id).settled_tokens == REPORTED
    assert _left(runtime, session.id) == 1000 - REPORTED - 1
    events = runtime.log.read(session.id, after=0).events
    assert [event.type for event in events].count("done") == 1


def test_a_refused_and_a_retracted_message_cost_nothing(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    session = _session(runtime)

    def away(*_: object, **__: object) -> None:
        raise RedisUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(runtime.log, "begin", away)
        with pytest.raises(RedisUnavailable):
            runtime.generations.accept(session, "Why?")
    accepted = runtime.generations.accept(session, "Why?")
    runtime.admission.retract(accepted.generation_id)
    assert _left(runtime, session.id) == 1000
    assert _reserved(runtime) == []


def test_a_deleted_session_leaves_no_reservation(runtime: Runtime) -> None:
    session = _session(runtime, new_user(runtime.database))
    runtime.generations.accept(session, "Why?")
    runtime.actions.end(session)
    assert _reserved(runtime) == []


def test_an_expired_session_leaves_no_reservation(runtime: Runtime, clock: TurnableClock) -> None:
    runtime.generations.accept(_session(runtime), "Why?")
    clock.turn(timedelta(hours=25))
    runtime.sweeper.sweep_expired()
    assert (_reserved(runtime), runtime.redis.keys(f"{PREFIX}concurrent:*")) == ([], [])


def test_without_a_budget_nothing_is_counted_but_usage_is_known(settings: Any) -> None:
    runtime = Runtime(settings.model_copy(update={"limit_tokens_anonymous": None}))
    session = _session(runtime)
    accepted = runtime.generations.accept(session, "Why?")
    assert [limit_status.policy for limit_status in accepted.limit_statuses] == ["messages", "concurrent"]
    runtime.writer.run()
    assert _reserved(runtime) == []
    assert _row(runtime, accepted.generation_id).settled_tokens == REPORTED
    runtime.close()


def test_a_message_that_is_refused_late_leaves_no_reservation(runtime: Runtime) -> None:
    session = _session(runtime)
    runtime.actions.end(session)
    with pytest.raises(SessionInvalid):
        runtime.generations.accept(session, "Why?")
    assert _left(runtime, session.id) == 1000
    assert _reserved(runtime) == []


def test_an_owned_session_that_expires_in_mid_answer_leaves_its_owner_no_reservation(
    runtime: Runtime, clock: TurnableClock
) -> None:
    runtime.generations.accept(_session(runtime, new_user(runtime.database)), "Why?")
    clock.turn(timedelta(days=15))
    runtime.sweeper.sweep_expired()
    assert (_reserved(runtime), runtime.redis.keys(f"{PREFIX}concurrent:*")) == ([], [])


def test_of_an_answer_that_was_carried_on_the_question_is_counted_alone(
    runtime: Runtime, provider: ProviderServer
) -> None:
    session = _session(runtime, model="prefilled-cut")
    accepted = runtime.generations.accept(session, "Why?")
    attempt = runtime.attempts.claim(accepted.generation_id)
    assert attempt is not None
    runtime.generation_events.take_over(attempt)
    runtime.event_loop.run(runtime.generation_events.append_delta(attempt, ANSWER[:30], 0))
    runtime.attempts.hand_off(attempt)
    runtime.writer.run()
    row = _row(runtime, accepted.generation_id)
    assert (row.state, row.prompt_tokens, row.completion_tokens) == ("done", ASKED, usage.tokens(ANSWER))
