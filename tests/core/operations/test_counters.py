"""What processes count reaches the totals once, whatever becomes of the answers of Redis."""

from collections.abc import Iterator
from typing import Any, cast

import pytest

from core.operations.counters import GAUGES_KEY, Counters
from core.stores.redis import Redis, RedisUnavailable
from tests.support.counted import total

SWEPT = "switchboard_swept_sessions_total"


@pytest.fixture
def counters(redis: Redis) -> Iterator[Counters]:
    """A process's."""
    process = Counters(redis)
    yield process
    process.stop()


def _total(counters: Counters, name: str = SWEPT, **labels: str) -> float:
    return total(counters.totals().counted, name, **labels)


def test_processes_add_up_and_one_that_ends_takes_nothing_away(counters: Counters, redis: Redis) -> None:
    counters.swept_sessions.inc(3)
    counters.flush()
    second = Counters(redis)
    second.start("worker")
    second.swept_sessions.inc(4)
    second.stop()
    counters.swept_sessions.inc()
    counters.flush()
    counters.flush()
    assert _total(counters) == 8


def test_a_histogram_of_several_processes_is_one(counters: Counters, redis: Redis) -> None:
    second = Counters(redis)
    for process, seconds in ((counters, 0.003), (second, 0.02), (second, 700)):
        process.task_durations.labels("sessions.create").observe(seconds)
        process.flush()
    name = "switchboard_task_duration_seconds"
    assert _total(counters, f"{name}_bucket", le="0.005") == 1
    assert _total(counters, f"{name}_bucket", le="0.025") == 2
    assert _total(counters, f"{name}_bucket", le="+Inf") == _total(counters, f"{name}_count") == 3
    assert _total(counters, f"{name}_sum") == pytest.approx(700.023)


@pytest.mark.parametrize("came", [True, False], ids=["answer-lost", "message-lost"])
def test_what_may_have_come_is_told_again_and_counts_once(
    counters: Counters, monkeypatch: pytest.MonkeyPatch, came: bool
) -> None:
    flush = counters._flush

    def lose(**call: Any) -> None:
        if came:
            flush(**call)
        raise RedisUnavailable

    counters.swept_sessions.inc(2)
    with monkeypatch.context() as context:
        context.setattr(counters, "_flush", lose)
        for _ in range(2):
            with pytest.raises(RedisUnavailable):
                counters.flush()
            counters.swept_sessions.inc()
    counters.flush()
    assert _total(counters) == 4


def test_gauges_count_as_long_as_their_process_tells_them(counters: Counters, redis: Redis) -> None:
    others = [Counters(redis), Counters(redis)]
    for number, process in enumerate(others, 1):
        process.watch_pool("redis", "web", lambda number=number: (number, 4))  # type: ignore[misc]
        process.start("web")
        process.flush()

    def gauge(name: str) -> float:
        return total(counters.totals().gauges, name)

    assert gauge("switchboard_pool_connections_in_use") == 3
    assert gauge("switchboard_pool_usage_ratio") == 0.5
    assert gauge("switchboard_processes") == 2
    others[1].stop()
    assert gauge("switchboard_pool_connections_in_use") == 1
    # One that was killed has told them long ago, and takes them with it.
    last = cast("dict[str, str]", redis.hgetall(GAUGES_KEY)).popitem()[1].split(" ", 1)[1]
    redis.hset(GAUGES_KEY, "killed", f"1 {last}")
    assert gauge("switchboard_processes") == 1
    others[0].stop()
    assert gauge("switchboard_processes") == 0
