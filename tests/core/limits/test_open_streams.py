"""How many event streams may be open, counted over all processes, and how the count heals."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast
from uuid import UUID

import pytest
from redis.backoff import NoBackoff
from redis.retry import Retry
from uuid_utils.compat import uuid7

from core.errors import Unavailable
from core.limits import open_streams
from core.limits.open_streams import OpenStreams, StreamLimits
from core.limits.rate_limit import RateLimiter
from core.limits.status import RateLimited
from core.stores.redis import Redis
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for

LIMITS = StreamLimits(per_session=2, per_user=3, per_address=5)
ADDRESS = "192.0.2.7"


@pytest.fixture
def processes(redis: Redis) -> Iterator[list[OpenStreams]]:
    """Two web processes."""
    both = [OpenStreams(redis, RateLimiter(redis), LIMITS) for _ in range(2)]
    yield both
    for each in both:
        each.stop()


def _refused(streams: OpenStreams, session: UUID | None, user: UUID | None, address: str | None) -> str | None:
    """The limit that refuses, or None, with the stream opened."""
    try:
        streams.open(session, user, address)
    except RateLimited as error:
        return str(error.extra["limit"])
    return None


def test_each_of_the_three_is_counted_over_all_processes(processes: list[OpenStreams]) -> None:
    first, second = processes
    user, one = uuid7(), uuid7()
    assert _refused(first, one, user, ADDRESS) is None
    assert _refused(second, one, user, ADDRESS) is None
    assert _refused(first, one, user, ADDRESS) == "streams-session"
    assert _refused(first, uuid7(), user, ADDRESS) is None
    assert _refused(second, uuid7(), user, ADDRESS) == "streams-user"
    assert _refused(second, uuid7(), None, ADDRESS) is None
    assert _refused(second, None, uuid7(), ADDRESS) is None
    assert _refused(second, uuid7(), uuid7(), ADDRESS) == "streams-address"
    assert _refused(second, uuid7(), uuid7(), "192.0.2.8") is None


def test_a_refused_stream_is_counted_nowhere(processes: list[OpenStreams]) -> None:
    streams, _ = processes
    user, full = uuid7(), uuid7()
    for _ in range(2):
        streams.open(full, user, ADDRESS)
    for _ in range(9):
        assert _refused(streams, full, user, ADDRESS) == "streams-session"
    assert _refused(streams, uuid7(), user, ADDRESS) is None


def test_one_that_has_ended_makes_room_at_once(processes: list[OpenStreams], redis: Redis) -> None:
    first, second = processes
    session = uuid7()
    held = [streams.open(session, None, ADDRESS) for streams in processes]
    for _ in range(3):
        assert _refused(second, session, None, ADDRESS) == "streams-session"
        first.close(held.pop(0))
        held.append(first.open(session, None, ADDRESS))
    first.close(held[1])
    second.close(held[0])
    assert redis.keys("*stream*") == []


def test_wider_networks_have_limits_too(processes: list[OpenStreams]) -> None:
    streams, _ = processes
    opened = 0
    while _refused(streams, None, None, f"192.0.2.{opened}") is None:
        opened += 1
    assert opened == 4 * 5  # of a /24
    assert _refused(streams, None, None, "198.51.100.1") is None


def test_an_address_is_kept_as_a_hash_only(processes: list[OpenStreams], redis: Redis) -> None:
    processes[0].open(uuid7(), None, ADDRESS)
    kept = [f"{key!r} {redis.hgetall(key)}" for key in redis.keys("*streams*")]
    assert kept
    assert not any("192.0" in text for text in kept)


def test_many_at_once_get_exactly_what_there_is(processes: list[OpenStreams]) -> None:
    session = uuid7()
    together = threading.Barrier(16)

    def come(number: int) -> bool:
        together.wait(10)
        return _refused(processes[number % 2], session, None, None) is None

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(come, range(16))) <= 2
    # The racers that were refused are counted no longer.
    for streams in processes:
        streams.renew()
    while _refused(processes[0], session, None, None) is None:
        pass
    key = processes[0]._limiter.key(processes[0]._buckets(session, None, None)[0])
    fields = cast("dict[str, str]", processes[0]._redis.hgetall(key))
    assert sum(int(value.partition(":")[2]) for value in fields.values()) == 2


def test_what_a_dead_process_held_is_free_when_its_lease_is_over(
    processes: list[OpenStreams], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, alive = processes
    session = uuid7()
    monkeypatch.setattr(open_streams, "PROCESS_LEASE_TTL", 0.2)
    for _ in range(2):
        dead.open(session, None, ADDRESS)
    monkeypatch.setattr(open_streams, "PROCESS_LEASE_TTL", 30.0)
    wait_for(lambda: _refused(alive, session, None, ADDRESS) is None, what="the dead process is forgotten")


def test_a_process_that_was_taken_for_dead_is_counted_again(processes: list[OpenStreams], redis: Redis) -> None:
    frozen, other = processes
    session = uuid7()
    for _ in range(2):
        frozen.open(session, None, ADDRESS)
    redis.zrem("sb:{limit}:stream-processes", frozen._process)
    kept = other.open(session, None, ADDRESS)  # which drops what the dead one held
    other.close(kept)
    frozen.renew()
    assert _refused(other, session, None, ADDRESS) == "streams-session"


def test_a_redis_that_has_lost_everything_is_told_again(processes: list[OpenStreams], redis: Redis) -> None:
    streams, other = processes
    sessions = [uuid7() for _ in range(3)]
    for session in sessions[:2]:
        for _ in range(2):
            streams.open(session, None, None)
    held = streams.open(sessions[2], None, None)
    redis.flushall()
    streams.close(held)
    streams._limiter._salt_until = other._limiter._salt_until = 0
    redis.set("sb:{limit}:salt", streams._limiter._salt.decode())
    streams.renew()
    assert [_refused(other, session, None, None) for session in sessions] == ["streams-session"] * 2 + [None]


def test_without_redis_none_is_opened_and_an_end_is_told_later(own_valkey: Valkey) -> None:
    redis = Redis(
        unix_socket_path=str(own_valkey.socket),
        decode_responses=True,
        socket_timeout=0.2,
        retry=Retry(NoBackoff(), 0),
    )
    streams = OpenStreams(redis, RateLimiter(redis), LIMITS)
    session = uuid7()
    held = [streams.open(session, None, None) for _ in range(2)]
    own_valkey.freeze()
    with pytest.raises(Unavailable):
        streams.open(uuid7(), None, None)
    streams.close(held[0])
    own_valkey.thaw()
    streams.renew()
    streams.open(session, None, None)
    assert _refused(streams, session, None, None) == "streams-session"
    streams.stop()
    redis.close()


def test_limits_that_are_off_cost_nothing(redis: Redis) -> None:
    streams = OpenStreams(redis, RateLimiter(redis), StreamLimits(None, None, None))
    for _ in range(50):
        streams.close(streams.open(uuid7(), uuid7(), ADDRESS))
    assert redis.keys() == []
