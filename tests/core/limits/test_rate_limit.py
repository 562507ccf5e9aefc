"""RateLimiter against a real Valkey: many processes, one truth; and what happens when Valkey is away."""

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import Unavailable
from core.limits import gcra
from core.limits.buckets import creation_buckets
from core.limits.message_limits import END
from core.limits.rate import SECOND, Rate
from core.limits.rate_limit import BUCKETS, CHARGE, PREFIX, Bucket, Decision, RateLimiter
from core.limits.status import RateLimited
from core.runtime import Runtime
from core.settings import Settings
from core.stores.redis import Redis, RedisDamaged, RedisUnavailable
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for

HOURLY = Rate(20, 3600 * SECOND, 5)
DAILY = Rate(500, 86_400 * SECOND, 100)
DEADLINE = 0.5
"""Seconds in which a request must be answered that can't be counted."""


@pytest.fixture
def limiter(redis: Redis) -> RateLimiter:
    return RateLimiter(redis)


def test_a_burst_is_admitted_and_the_standing_is_told(limiter: RateLimiter) -> None:
    bucket = Bucket("create", "192.0.2.1", HOURLY)
    told = [limiter.charge([bucket]) for _ in range(6)]
    assert [decision.admitted for decision in told] == [True] * 5 + [False]
    assert [decision.limit_statuses[0].remaining for decision in told] == [4, 3, 2, 1, 0, 0]
    first, last = told[0].limit_statuses[0], told[5]
    assert (first.policy, first.quota, first.window) == ("create", 5, 900)
    assert 179 <= (first.reset or 0) <= 180
    assert 179 <= last.retry_after <= 180
    assert last.tripped == "create"


def test_a_refusal_names_the_limit_and_when_to_come_again(limiter: RateLimiter) -> None:
    bucket = Bucket("create", "192.0.2.1", Rate(1, 60 * SECOND, 1))
    assert limiter.require([bucket]).admitted
    with pytest.raises(RateLimited, match="'create'") as refused:
        limiter.require([bucket])
    assert refused.value.problem()["type"] == "/problems/rate-limited"
    assert refused.value.problem()["limit"] == "create"
    assert refused.value.retry_after in (59, 60)
    assert [limit_status.remaining for limit_status in refused.value.limit_statuses] == [0]


def test_of_several_refusals_the_longest_counts(limiter: RateLimiter) -> None:
    short = Bucket("short", "x", Rate(1, 60 * SECOND, 1))
    long = Bucket("long", "x", Rate(1, 3600 * SECOND, 1))
    limiter.require([short, long])
    refused = limiter.charge([short, long])
    assert (refused.tripped, refused.retry_after > 3500) == ("long", True)


def test_nothing_is_charged_unless_all_admit(limiter: RateLimiter) -> None:
    wide = Bucket("wide", "x", Rate(100, 3600 * SECOND, 100))
    narrow = Bucket("narrow", "x", Rate(1, 3600 * SECOND, 1))
    limiter.require([wide, narrow])
    for order in ([wide, narrow], [narrow, wide]):
        assert not limiter.charge(order).admitted
    assert limiter.charge([wide]).limit_statuses[0].remaining == 98


def test_no_buckets_need_no_redis() -> None:
    nowhere = RateLimiter(Redis(port=1))
    assert nowhere.charge([]) == Decision(admitted=True)


def test_the_stored_keys_tell_nothing_and_vanish(limiter: RateLimiter, redis: Redis) -> None:
    limiter.charge(creation_buckets("192.0.2.77", HOURLY, HOURLY))
    keys = cast("list[str]", redis.keys("*"))
    assert len(keys) == 5  # three networks, all the world, and the salt
    assert all(key.startswith(PREFIX) for key in keys)
    assert "192.0" not in " ".join(keys)
    assert all(0 < redis.pttl(key) <= 180_000 for key in keys if not key.endswith("salt"))
    assert 0 < redis.ttl(f"{PREFIX}salt") <= 86_400
    assert all(cast("int", redis.memory_usage(key)) < 160 for key in keys if not key.endswith("salt"))


def test_another_deployment_gives_an_address_another_key(limiter: RateLimiter, redis: Redis) -> None:
    limiter.charge([Bucket("create", "192.0.2.77", HOURLY)])
    (before,) = redis.scan_iter(f"{PREFIX}create*")
    redis.flushall()
    RateLimiter(redis).charge([Bucket("create", "192.0.2.77", HOURLY)])
    assert list(redis.scan_iter(f"{PREFIX}create*")) != [before]


def test_processes_agree_on_the_salt_again_after_redis_has_lost_it(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.limits.rate_limit.SALT_CACHE_TTL", 0.0)
    one, other = RateLimiter(redis), RateLimiter(redis)
    bucket = Bucket("create", "192.0.2.1", Rate(2, 3600 * SECOND, 2))
    one.require([bucket])
    redis.flushall()
    one.require([bucket])
    other.require([bucket])
    assert not one.charge([bucket]).admitted


def _hammer(url: str, calls: int) -> list[bool]:
    limiter = RateLimiter(Redis.from_url(url, decode_responses=True))
    buckets = creation_buckets("198.51.100.7", HOURLY, DAILY)
    with ThreadPoolExecutor(10) as threads:
        return list(threads.map(lambda _: limiter.charge(buckets).admitted, range(calls)))


@pytest.mark.slow
def test_of_1000_parallel_creations_a_burst_is_admitted_across_processes(valkey: Valkey, redis: Redis) -> None:
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as processes:
        answers = list(processes.map(_hammer, [valkey.url] * 4, [250] * 4))
    admitted = [answer for process in answers for answer in process]
    assert (len(admitted), sum(admitted)) == (1000, 5)
    # The refused ones have cost the limit for all the world nothing.
    everybody = Bucket("create-global", "all", DAILY)
    assert RateLimiter(redis).charge([everybody]).limit_statuses[0].remaining == DAILY.burst - 5 - 1


def test_of_charges_that_come_together_each_has_its_own_answer(limiter: RateLimiter, redis: Redis) -> None:
    bursts = {f"client {number}": 1 + number % 3 for number in range(30)}
    shared = Bucket("shared", "all", Rate(1000, 3600 * SECOND, 1000), public=False)

    def charge(client: str) -> tuple[str, bool]:
        return client, limiter.charge(
            [Bucket("own", client, Rate(1, 3600 * SECOND, bursts[client])), shared]
        ).admitted

    with ThreadPoolExecutor(30) as threads:
        decisions = list(threads.map(charge, [*bursts] * 4))
    admitted = Counter(client for client, was_admitted in decisions if was_admitted)
    assert admitted == bursts
    assert limiter.charge([replace(shared, public=True)]).limit_statuses[0].remaining == 999 - sum(bursts.values())


def _gather(limiter: RateLimiter, count: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Hold the first charge back until so many others wait for it. Returns how many each round trip asks for."""
    together: list[int] = []
    carry_out = limiter._carry_out

    def carry_out_late(charges: Sequence[Any]) -> list[list[int]]:
        if not together:
            wait_for(lambda: len(limiter._together._waiting) == count, what="the others have come")
        together.append(len(charges))
        return carry_out(charges)

    monkeypatch.setattr(limiter, "_carry_out", carry_out_late)
    return together


def test_a_key_that_is_damaged_fails_no_charge_that_comes_with_it(
    limiter: RateLimiter, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    buckets = [Bucket("create", f"client {number}", HOURLY) for number in range(9)]
    redis.hset(limiter.key(buckets[4]), "no", "number")
    together = _gather(limiter, 8, monkeypatch)
    with ThreadPoolExecutor(9) as threads:
        charges = [threads.submit(limiter.charge, [bucket]) for bucket in buckets]
        errors = [charge.exception() for charge in charges]
    assert together[:2] == [1, 8]
    assert [isinstance(error, RedisDamaged) for error in errors] == [number == 4 for number in range(9)]
    assert all(charge.result().admitted for charge, error in zip(charges, errors, strict=True) if error is None)


def test_who_waits_for_a_charge_that_is_not_answered_is_refused_with_it(
    own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = Runtime(Settings(configured_redis_url=own_valkey.url))
    bucket = Bucket("create", "192.0.2.1", Rate(100, 3600 * SECOND, 100))
    runtime.limiter.require([bucket])
    together = _gather(runtime.limiter, 8, monkeypatch)
    own_valkey.freeze()
    with ThreadPoolExecutor(9) as threads:
        errors = [
            charge.exception() for charge in [threads.submit(runtime.limiter.require, [bucket]) for _ in range(9)]
        ]
    assert together == [1]
    assert {type(error) for error in errors} == {RedisUnavailable}
    own_valkey.thaw()
    assert runtime.limiter.require([bucket]).admitted
    runtime.close()


def test_users_of_one_network_share_a_wider_limit(limiter: RateLimiter) -> None:
    admitted = [
        limiter.charge(creation_buckets(f"2001:db8:0:{network:x}::1", HOURLY, None)).admitted
        for network in range(8)
        for _ in range(5)
    ]
    assert sum(admitted) == 20


TEST_CLOCK = "local now = tonumber(ARGV[#ARGV])\n"
"""In the place of the script's own clock: the last argument is the time."""
rates = st.builds(
    Rate, st.integers(1, 12), st.integers(3600, 86_400).map(lambda seconds: seconds * SECOND + 7), st.integers(1, 4)
)
steps = st.tuples(
    st.integers(-600, 7200), st.sets(st.integers(0, 3), min_size=1), st.integers(1, 3), st.integers(0, 9)
)


# The keys' lifetimes are still the server's to count, but are minutes and more at these rates.
@pytest.mark.slow
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(rates, min_size=4, max_size=4), st.lists(steps, min_size=1, max_size=40))
def test_the_script_agrees_with_the_arithmetic(
    redis: Redis, buckets: list[Rate], requests: list[tuple[int, set[int], int, int]]
) -> None:
    redis.flushall()
    script = redis.register_script(TEST_CLOCK + CHARGE)
    settle = redis.register_script(TEST_CLOCK + BUCKETS + END)
    now = 1_900_000_000 * SECOND + 13
    arrivals: dict[int, int] = {}
    for pause, chosen, cost, used in requests:
        now += pause * SECOND + 1
        order = sorted(chosen)
        picked = [gcra.Charge(buckets[index], cost) for index in order]
        admitted, backlogs = gcra.charge(now, [arrivals.get(index) for index in order], picked)
        numbers = [number for one in picked for number in (one.rate.interval * cost, one.rate.capacity)]
        said = script(keys=[f"bucket:{index}" for index in order], args=[1, len(order), *numbers, now])
        assert said == [[int(admitted), *backlogs]]
        if admitted:
            arrivals |= {index: now + backlog for index, backlog in zip(order, backlogs, strict=True)}
            assert {index: int(str(redis.get(f"bucket:{index}"))) for index in arrivals} == arrivals
            first, rate = order[0], buckets[order[0]]
            redis.hset("reserved", "item", f"tokens {cost} {rate.interval} {rate.capacity}")
            for _ in range(2):  # the second changes nothing
                arguments: list[str | int] = ["item", "tokens", used, now]
                settle(keys=["leases", "reserved", f"bucket:{first}"], args=arguments)
            arrivals[first] = now + gcra.settle(now, arrivals[first], rate, used - cost)
            assert int(str(redis.get(f"bucket:{first}") or now)) == arrivals[first]
            if arrivals[first] == now:
                del arrivals[first]


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize(
    ("lose", "return_"),
    [(Valkey.stop, Valkey.start), (Valkey.freeze, Valkey.thaw), (Valkey.fill, Valkey.empty)],
    ids=["stopped", "frozen", "out of memory"],
)
def test_without_redis_a_charge_is_refused_soon_and_works_again_at_once(
    own_valkey: Valkey, lose: Callable[[Valkey], None], return_: Callable[[Valkey], None], warm: bool
) -> None:
    runtime = Runtime(Settings(configured_redis_url=own_valkey.url))
    buckets = [Bucket("create", "192.0.2.1", Rate(100, 3600 * SECOND, 100))]
    if warm:
        runtime.limiter.require(buckets)
    lose(own_valkey)
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(Unavailable) as away:
            runtime.limiter.require(buckets)
        assert time.monotonic() - began < DEADLINE
        assert away.value.retry_after
    return_(own_valkey)
    assert runtime.limiter.require(buckets).admitted
    runtime.close()


def test_a_redis_that_was_never_there_is_away(settings: Any) -> None:
    runtime = Runtime(settings.model_copy(update={"configured_redis_url": "redis://127.0.0.1:1"}))
    with pytest.raises(Unavailable):
        runtime.limiter.charge([Bucket("create", "192.0.2.1", HOURLY)])
