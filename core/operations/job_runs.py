"""The runs of scheduled jobs: which process runs one, and when it ran last. /readyz and `switchboard doctor` read it.

Kept in Redis, with lifetimes: the note of a run is gone when the job has not run again for several of its periods.
What /metrics shows of it stays.
"""

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Literal, cast

from core.stores.redis import Redis

Job = Literal["reaper", "sweep", "beat"]
JOBS: tuple[Job, ...] = ("reaper", "sweep", "beat")

LAST_KEY = "sb:ran"
"""A hash: by job, when it has run last, without end."""
OVERDUE_PERIODS = 3
"""Periods of a schedule that may pass without a run."""
OVERDUE_SLACK = timedelta(seconds=30)
"""Added to that, so that a restart, or a moment without Redis, is no alarm."""


class JobRuns:
    """Notes of jobs' runs, in Redis. All methods raise Unavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def take_turn(self, job: Job, period: timedelta) -> bool:
        """Whether the caller is to run the job now: of all processes one is, once a period."""
        # A little less than the period, so that a process that asks again one period later is not too early.
        return bool(self._redis.set(f"sb:turn:{job}", 1, nx=True, px=int(period.total_seconds() * 900)))

    def note(self, job: Job, period: timedelta) -> None:
        """The job, which is to run once a period, has just run."""
        now = str(time.time())
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.set(_key(job), now, px=_milliseconds(period))
            pipe.hset(LAST_KEY, job, now)
            pipe.execute()

    def expect(self, job: Job, period: timedelta) -> None:
        """The job is to run from now on: it is not overdue before it has had its time."""
        self._redis.set(_key(job), "", px=_milliseconds(period), nx=True)

    def last(self) -> Mapping[str, float]:
        """By job, when it has run last, as Unix time; also when that was long ago."""
        kept = cast("dict[str, str]", self._redis.hgetall(LAST_KEY))
        return {job: float(ran) for job, ran in kept.items() if job in JOBS}

    def overdue(self) -> list[Job]:
        """The jobs that have not run for several of their periods."""
        kept = cast("list[str | None]", self._redis.mget([_key(job) for job in JOBS]))
        return [job for job, ran in zip(JOBS, kept, strict=True) if ran is None]


def _key(job: Job) -> str:
    return f"sb:ran:{job}"


def _milliseconds(period: timedelta) -> int:
    return int((OVERDUE_PERIODS * period + OVERDUE_SLACK).total_seconds() * 1000)
