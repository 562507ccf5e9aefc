"""Leases for what is under way, and how they heal."""

from datetime import timedelta
from uuid import UUID

import pytest
from redis.backoff import NoBackoff
from redis.retry import Retry
from uuid_utils.compat import uuid7

from core.errors import Unavailable
from core.limits.leases import Leases
from core.limits.status import RateLimited
from core.stores.redis import Redis
from tests.support.waiting import wait_for

LONG = timedelta(seconds=60)
SHORT = timedelta(seconds=0.2)


@pytest.fixture
def leases(redis: Redis) -> Leases:
    return Leases(redis, "concurrent")


@pytest.fixture
def owner() -> UUID:
    return uuid7()


def _taken(leases: Leases, owner: UUID, holder: UUID, limit: int = 1) -> bool:
    try:
        leases.acquire(owner, holder, limit, LONG)
    except RateLimited:
        return False
    return True


def _now(redis: Redis) -> float:
    seconds, microseconds = redis.time()
    return float(seconds + microseconds / 1_000_000)


def test_as_many_as_the_limit_are_let_in(leases: Leases, owner: UUID) -> None:
    assert [leases.acquire(owner, uuid7(), 2, LONG).remaining for _ in range(2)] == [1, 0]
    with pytest.raises(RateLimited, match="At most 2") as refused:
        leases.acquire(owner, uuid7(), 2, LONG)
    assert refused.value.problem()["limit"] == "concurrent"
    assert refused.value.retry_after
    assert _taken(leases, uuid7(), uuid7())


def test_a_released_lease_makes_room(leases: Leases, owner: UUID, redis: Redis) -> None:
    first, second = uuid7(), uuid7()
    leases.acquire(owner, first, 1, LONG)
    assert not _taken(leases, owner, second)
    leases.release(owner, first)
    leases.release(owner, first)
    assert redis.keys("*") == []
    assert _taken(leases, owner, second)
    leases.release(owner, first)
    assert not _taken(leases, owner, uuid7())


def test_the_lease_of_a_holder_that_died_runs_out(leases: Leases, owner: UUID) -> None:
    leases.acquire(owner, uuid7(), 1, SHORT)
    leases.acquire(owner, uuid7(), 2, LONG)
    assert not _taken(leases, owner, uuid7(), limit=2)
    wait_for(lambda: _taken(leases, owner, uuid7(), limit=2), seconds=5)


def test_a_lease_that_is_held_goes_on(leases: Leases, owner: UUID, redis: Redis) -> None:
    holder = uuid7()
    leases.acquire(owner, holder, 1, SHORT)
    leases.renew(owner, holder, LONG)
    assert redis.pttl(redis.keys("*")[0]) > 30_000
    over = _now(redis) + SHORT.total_seconds()
    wait_for(lambda: _now(redis) > over)
    assert not _taken(leases, owner, uuid7())


def test_a_lease_can_be_shortened(leases: Leases, owner: UUID) -> None:
    holder = uuid7()
    leases.acquire(owner, holder, 1, LONG)
    leases.renew(owner, holder, SHORT)
    wait_for(lambda: _taken(leases, owner, uuid7()), seconds=5)


def test_a_holder_that_is_carried_on_counts_again(leases: Leases, owner: UUID) -> None:
    first, second = uuid7(), uuid7()
    leases.acquire(owner, first, 1, SHORT)
    wait_for(lambda: _taken(leases, owner, second), seconds=5)
    leases.renew(owner, first, LONG)
    leases.release(owner, second)
    assert not _taken(leases, owner, second)


def test_idle_keys_vanish(leases: Leases, owner: UUID, redis: Redis) -> None:
    leases.acquire(owner, uuid7(), 1, SHORT)
    wait_for(lambda: redis.keys("*") == [], seconds=5)


def test_without_redis_there_are_no_leases(owner: UUID) -> None:
    leases = Leases(Redis(port=1, retry=Retry(NoBackoff(), 0)), "concurrent")
    for call in (
        lambda: leases.acquire(owner, uuid7(), 1, LONG),
        lambda: leases.renew(owner, uuid7(), LONG),
        lambda: leases.release(owner, uuid7()),
    ):
        with pytest.raises(Unavailable):
            call()
