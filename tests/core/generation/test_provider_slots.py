"""A provider's slots when workers die or come back: no generation waits for ever, and no slot is given away."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from core.generation.attempts import Attempt
from core.generation.scheduler import Claim
from core.limits.leases import Leases
from core.llm.providers import openai_compatible  # noqa: F401  half a second that no first token should wait for
from core.runtime import Runtime
from core.settings import Settings
from core.stores.tables import Session
from tests.support.provider import ProviderServer
from tests.support.waiting import wait_for

SLOTS = "sb:{limit}:slots:one-at-a-time"


@pytest.fixture
def runtime(settings: Settings) -> Iterator[Runtime]:
    """A process whose leases are short."""
    parts = Runtime(settings.model_copy(update={"lease": timedelta(seconds=1)}))
    yield parts
    parts.close()


def _ask(runtime: Runtime, model: str = "one-at-a-time") -> Session:
    with runtime.database.writing() as db:
        return runtime.sessions.create_session(db, secret_hash=bytes(32), model=model)


def test_a_takeover_gets_the_only_slot_when_the_dead_attempts_lease_on_it_lapses(
    runtime: Runtime, provider: ProviderServer
) -> None:
    provider.go_on.set()
    generation_id = runtime.generations.accept(_ask(runtime), "Why?").generation_id
    dead = runtime.attempts.claim(generation_id)
    assert dead is not None
    Leases(runtime.redis, "slots").acquire("one-at-a-time", str(generation_id), 1, timedelta(seconds=3))
    wait_for(lambda: runtime.reaper.reap().handed_off == (generation_id,), what="the lease lapses")

    def ended() -> bool:
        runtime.writer.run()
        return runtime.log.read(dead.session_id, after=0).events[-1].type == "done"

    assert not ended()
    wait_for(ended, what="the slot's lease lapses too")


def test_an_attempt_that_comes_back_does_not_give_its_successors_slot_away(runtime: Runtime) -> None:
    generation_id = runtime.generations.accept(_ask(runtime), "Why?").generation_id
    first = runtime.queue.claim_next()
    assert first is not None
    runtime.attempts.hand_off(first.attempt)
    runtime.redis.delete(SLOTS)  # its lease has lapsed
    second = runtime.queue.claim_next()
    assert second is not None
    assert second.attempt.generation_id == generation_id
    assert second.slot.move_to("one-at-a-time")

    first.slot.release()

    assert runtime.redis.zcard(SLOTS) == 1


def test_the_loser_of_a_race_for_a_generation_does_not_give_the_winners_slot_away(
    runtime: Runtime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.generations.accept(_ask(runtime, "good"), "Why?")
    other = Runtime(settings)
    claim = other.attempts.claim_all
    winners: list[Claim | None] = []

    def claim_too_late(generation_ids: Sequence[UUID]) -> list[Attempt]:
        winners.append(runtime.queue.claim_next())
        return claim(generation_ids)

    monkeypatch.setattr(other.attempts, "claim_all", claim_too_late)
    assert other.queue.claim_next() is None
    assert [winner and winner.slot.model for winner in winners] == ["good"]
    assert runtime.redis.zcard("sb:{limit}:slots:good") == 1
    other.close()


def test_a_slot_that_redis_has_lost_is_counted_again(runtime: Runtime) -> None:
    runtime.generations.accept(_ask(runtime), "Why?")
    claim = runtime.queue.claim_next()
    assert claim is not None
    runtime.redis.delete(SLOTS)
    with runtime.heartbeats.start(*claim):
        runtime.heartbeats.renew()
    assert runtime.redis.zcard(SLOTS) == 1


def test_a_model_that_is_only_busy_does_not_rest(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.generation.writer.SLOT_TIMEOUT", 0)
    runtime.provider_slots.acquire("one-at-a-time", [uuid7()])
    session = _ask(runtime, "falls-back-to-busy")
    runtime.generations.accept(session, "Why?")
    runtime.writer.run()
    assert runtime.log.read(session.id, after=0).events[-1].type == "failed"
    assert runtime.cooldowns.in_cooldown(["one-at-a-time", "falls-back-to-busy"]) == set()
