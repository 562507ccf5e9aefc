"""What GenerationService lets one owner ask for, from the message to the end of the answer."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import pytest
from sqlalchemy import select
from uuid_utils.compat import uuid7

from core.errors import GenerationInProgress, SessionExpired, SessionInvalid, Unavailable
from core.generation.accepted import Accepted
from core.limits.message_limits import Spending
from core.limits.rate import SECOND, Rate
from core.limits.rate_limit import PREFIX
from core.limits.status import RateLimited
from core.runtime import Runtime
from core.sessions.credential import Credential
from core.stores.redis import Redis, RedisUnavailable
from core.stores.tables import Generation, Message, Session
from tests.conftest import TurnableClock, new_user
from tests.core.generation.test_service import _in_thread
from tests.support.provider import ProviderServer
from tests.support.waiting import wait_for

LEASES = f"{PREFIX}concurrent:*"


def _session(runtime: Runtime, owner: UUID | None = None, model: str = "good") -> Session:
    credential = Credential.issue()
    with runtime.database.writing() as db:
        return runtime.sessions.create_session(
            db,
            owner,
            session_id=credential.session_id,
            secret_hash=None if owner else credential.secret_hash,
            model=model,
        )


def _with(settings: Any, **options: Any) -> Runtime:
    return Runtime(settings.model_copy(update=options))


def _leases(runtime: Runtime) -> list[str]:
    sets = [runtime.redis.zrange(key, 0, -1) for key in runtime.redis.scan_iter(LEASES)]
    return [str(holder) for holders in sets for holder in holders]


def _generations(runtime: Runtime) -> int:
    with runtime.database.reading() as db:
        return len(db.scalars(select(Generation)).all())


def test_an_accepted_message_tells_how_its_owner_stands(runtime: Runtime) -> None:
    accepted = runtime.generations.accept(_session(runtime), "Why?")
    messages, tokens, concurrent = accepted.limit_statuses
    assert (messages.policy, messages.quota, messages.remaining, messages.window) == ("messages", 15, 14, 60)
    assert (tokens.policy, tokens.quota, tokens.remaining) == ("tokens", 500_000, 500_000 - 101)
    assert (concurrent.policy, concurrent.quota, concurrent.remaining) == ("concurrent", 1, 0)
    assert _leases(runtime) == [str(accepted.generation_id)]


def test_a_live_answer_comes_before_every_limit(settings: Any) -> None:
    runtime = _with(settings, limit_messages_anonymous=Rate(1, 3600 * SECOND, 1))
    session = _session(runtime)
    runtime.generations.accept(session, "Why?")
    for _ in range(3):
        with pytest.raises(GenerationInProgress):
            runtime.generations.accept(session, "And?")
    runtime.writer.run()
    with pytest.raises(RateLimited, match="messages"):
        runtime.generations.accept(session, "And?")
    runtime.close()


@pytest.mark.parametrize("owned", [False, True])
def test_who_has_to_wait_for_an_answer_is_charged_nothing(runtime: Runtime, owned: bool) -> None:
    session = _session(runtime, new_user(runtime.database) if owned else None)
    first = runtime.generations.accept(session, "Why?").limit_statuses
    runtime.writer.run()
    runtime.generations.accept(session, "And?")
    for _ in range(5):
        with pytest.raises(GenerationInProgress):
            runtime.generations.accept(session, "And?")
    assert len(_leases(runtime)) == 1
    runtime.writer.run()
    last = runtime.generations.accept(session, "So?").limit_statuses
    assert last[0].remaining == first[0].remaining - 2
    assert first[1].remaining - last[1].remaining < 100  # two short answers, and no further reservation


def test_a_lease_without_a_row_is_a_message_that_is_just_being_taken(runtime: Runtime) -> None:
    session = _session(runtime)
    runtime.message_limits.admit(session, uuid7(), timedelta(seconds=60), Spending(100, 0))
    with pytest.raises(GenerationInProgress):
        runtime.generations.accept(session, "Why?")


def test_too_many_messages_are_refused_and_leave_nothing(settings: Any) -> None:
    runtime = _with(settings, limit_messages_anonymous=Rate(2, 3600 * SECOND, 2))
    session = _session(runtime)
    for _ in range(2):
        runtime.generations.accept(session, "Why?")
        runtime.writer.run()
    with pytest.raises(RateLimited) as refused:
        runtime.generations.accept(session, "canary-91d2")
    assert refused.value.problem()["limit"] == "messages"
    assert (_leases(runtime), _generations(runtime)) == ([], 2)
    assert "canary-91d2" not in str(runtime.transcript.read(session).messages)
    runtime.generations.accept(_session(runtime), "Somebody else may.")
    runtime.close()


def test_a_users_own_limits_go_before_everybodys_until_they_are_taken_back(settings: Any) -> None:
    runtime = _with(settings, limit_messages_user=Rate(2, 3600 * SECOND, 2))
    owner = new_user(runtime.database)
    session = _session(runtime, owner)
    assert runtime.users.change_limits(owner, {"messages": "1/h", "tokens": "off"}) == {
        "messages": "1/h",
        "tokens": "off",
    }
    runtime.generations.accept(session, "Why?")
    runtime.writer.run()
    with pytest.raises(RateLimited, match="messages"):
        runtime.generations.accept(session, "And?")
    assert runtime.users.change_limits(owner, {"messages": None}) == {"tokens": "off"}
    runtime.message_limits.refill(owner, ["messages"])
    statuses = runtime.generations.accept(session, "Now?").limit_statuses
    assert [each.policy for each in statuses] == ["messages", "concurrent"]
    with pytest.raises(ValueError, match="concurrent: '0' is not a number from 1 to 1000"):
        runtime.users.change_limits(owner, {"concurrent": "0"})
    runtime.close()


def test_a_users_sessions_share_the_users_limits(settings: Any) -> None:
    runtime = _with(settings, limit_messages_user=Rate(3, 3600 * SECOND, 3))
    owner = new_user(runtime.database)
    sessions = [_session(runtime, owner) for _ in range(3)]
    _first, _ = (runtime.generations.accept(session, "Why?") for session in sessions[:2])
    with pytest.raises(RateLimited) as refused:
        runtime.generations.accept(sessions[2], "canary-4a11")
    assert refused.value.problem()["limit"] == "concurrent"
    with pytest.raises(GenerationInProgress):
        runtime.generations.accept(sessions[0], "And?")
    runtime.writer.run()
    messages, _, concurrent = runtime.generations.accept(sessions[2], "Now?").limit_statuses
    assert (messages.remaining, concurrent.remaining) == (0, 0)
    with pytest.raises(RateLimited) as refused:
        runtime.generations.accept(sessions[0], "And?")
    # Two are under way: that is looked at first, and the message is not charged.
    assert refused.value.problem()["limit"] == "concurrent"
    with runtime.database.reading() as db:
        assert "canary-4a11" not in db.scalars(select(Message.text)).all()
    runtime.close()


def _run(runtime: Runtime, accepted: Accepted, clock: TurnableClock) -> None:
    runtime.writer.run()


def _reap(runtime: Runtime, accepted: Accepted, clock: TurnableClock) -> None:
    clock.turn(timedelta(seconds=61))
    assert runtime.reaper.reap().ended == 1


def _retract(runtime: Runtime, accepted: Accepted, clock: TurnableClock) -> None:
    runtime.admission.retract(accepted.generation_id)


def _delete(runtime: Runtime, accepted: Accepted, clock: TurnableClock) -> None:
    with runtime.database.reading() as db:
        session = db.get_one(Session, accepted.session_id)
    runtime.actions.end(session)


@pytest.mark.parametrize("model", ["good", "broken"])
@pytest.mark.parametrize("owned", [False, True])
@pytest.mark.parametrize("end", [_run, _reap, _retract, _delete])
def test_every_end_gives_the_lease_back(
    settings: Any,
    clock: TurnableClock,
    owned: bool,
    model: str,
    end: Callable[[Runtime, Accepted, TurnableClock], None],
) -> None:
    runtime = Runtime(settings, clock=clock)
    owner = new_user(runtime.database) if owned else None
    accepted = runtime.generations.accept(_session(runtime, owner, model), "Why?")
    assert _leases(runtime) == [str(accepted.generation_id)]
    end(runtime, accepted, clock)
    assert _leases(runtime) == []
    runtime.close()


def test_whoever_sees_the_end_may_ask_again_at_once(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime.generations.accept(_session(runtime), "Why?")
    end = runtime.log.end
    held: list[list[str]] = []

    def looking(session_id: UUID, kind: str, *args: Any, **options: Any) -> Any:
        if kind == "done":
            held.append(_leases(runtime))
        return end(session_id, kind, *args, **options)

    monkeypatch.setattr(runtime.log, "end", looking)
    runtime.writer.run()
    assert held == [[]]


def test_a_message_that_can_not_be_taken_gives_its_lease_back(
    settings: Any, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = Runtime(settings, clock=clock)
    session = _session(runtime)
    with monkeypatch.context() as patched:
        patched.setattr(runtime.log, "begin", _raises(RedisUnavailable))
        with pytest.raises(RedisUnavailable):
            runtime.generations.accept(session, "Why?")
    assert _leases(runtime) == []
    claimed = _session(runtime)
    claimed.owner_id = new_user(runtime.database)
    with pytest.raises(SessionInvalid):
        runtime.generations.accept(claimed, "Why?")
    assert _leases(runtime) == []
    clock.turn(timedelta(minutes=31))
    with pytest.raises(SessionExpired):
        runtime.generations.accept(session, "Why?")
    assert _leases(runtime) == []
    runtime.close()


def _raises(error: type[Exception]) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


def test_a_worker_keeps_the_lease_alive(settings: Any, provider: ProviderServer, redis: Redis) -> None:
    runtime = _with(settings, lease=timedelta(seconds=0.3))
    provider.go_on.clear()
    accepted = runtime.generations.accept(_session(runtime, model="paused"), "Why?")
    (key,) = cast("list[str]", redis.keys(LEASES))
    queued_until = cast("float", redis.zscore(key, str(accepted.generation_id)))
    thread = _in_thread(runtime, accepted)
    claimed_until = wait_for(lambda: (until := _until(redis, key)) < queued_until and until)
    wait_for(lambda: _until(redis, key) > claimed_until)
    provider.go_on.set()
    thread.join()
    assert redis.keys(LEASES) == []
    runtime.close()


def _until(redis: Redis, key: str) -> float:
    ((_, score),) = cast("list[tuple[str, float]]", redis.zrange(key, 0, -1, withscores=True))
    return score


def test_an_answer_ends_well_when_its_lease_can_not_be_given_back(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = _session(runtime)
    runtime.generations.accept(session, "Why?")
    monkeypatch.setattr(runtime.message_limits, "settle", _raises(Unavailable))
    monkeypatch.setattr(runtime.message_limits._leases, "renew", _raises(Unavailable))
    runtime.writer.run()
    assert runtime.transcript.read(session).messages[-1].state == "complete"


@pytest.mark.parametrize("owned", [False, True])
def test_a_lease_that_could_not_be_given_back_locks_nobody_out(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, owned: bool
) -> None:
    """Redis was away for a moment when the answers ended; the next questions come at once."""
    owner = new_user(runtime.database) if owned else None
    sessions = [_session(runtime, owner=owner) for _ in range(2 if owned else 1)]

    def away(*_: object) -> None:
        raise Unavailable

    for session in sessions:
        runtime.generations.accept(session, "Why?")
    monkeypatch.setattr(runtime.message_limits, "settle", away)
    for _ in sessions:
        runtime.writer.run()
    monkeypatch.undo()
    assert len(_leases(runtime)) == len(sessions)
    for session in sessions:
        runtime.generations.accept(session, "And?")
        runtime.writer.run()
    runtime.reaper.reap()
    assert _leases(runtime) == []


def test_the_end_of_an_answer_is_repeated_until_its_lease_is_given_back(
    settings: Any, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = Runtime(settings, clock=clock)
    session = _session(runtime)
    runtime.generations.accept(session, "Why?")

    def away(*_: object) -> None:
        raise Unavailable

    monkeypatch.setattr(runtime.message_limits, "settle", away)
    runtime.writer.run()
    monkeypatch.undo()
    assert len(_leases(runtime)) == 1
    clock.turn(timedelta(seconds=11))
    assert runtime.reaper.reap().published == 1
    assert _leases(runtime) == []
    runtime.close()
