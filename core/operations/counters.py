"""How tasks have ended, and what of their items has failed: counted in Redis by the workers, read for /metrics."""

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from enum import StrEnum
from typing import cast

from core.errors import Unavailable
from core.stores.redis import Redis

OUTCOMES_KEY = "sb:tasks:outcomes"
"""A hash: by `<task> <outcome>`, how many."""
FAILURES_KEY = "sb:tasks:failures"
"""A hash: by job, how many of its items have failed."""


class Outcome(StrEnum):
    """How one delivery of a task has ended."""

    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    """The request was wrong, by the domain's rules."""
    UNAVAILABLE = "unavailable"
    """A store was away."""
    FAILED = "failed"
    """Unexpectedly."""
    RETRIED = "retried"
    """It will be delivered again."""
    SKIPPED = "skipped"
    """The run before it was still under way."""
    EXPIRED = "expired"
    """No worker took it in time."""
    REJECTED = "rejected"
    """No worker could read it, or an operator has revoked it."""


class Counters:
    """Counting is best effort: without Redis nothing is counted, and nothing fails."""

    def __init__(self, redis: Redis) -> None:
        """`redis` fails at once, so that a task waits for nothing but its own stores."""
        self._redis = redis

    def count_outcomes(self, task: str, outcomes: Iterable[Outcome]) -> None:
        """Deliveries of a task have ended so."""
        with suppress(Unavailable), self._redis.pipeline(transaction=False) as pipe:
            for outcome, count in Counter(outcomes).items():
                pipe.hincrby(OUTCOMES_KEY, f"{task} {outcome}", count)
            pipe.execute()

    def count_failure(self, job: str) -> None:
        """One of the job's items has failed (core/stores/quarantine.py)."""
        with suppress(Unavailable):
            self._redis.hincrby(FAILURES_KEY, job, 1)

    def outcomes(self) -> Mapping[tuple[str, str], int]:
        """By task and outcome, how many since Redis was new. Raises Unavailable."""
        counted = cast("dict[str, str]", self._redis.hgetall(OUTCOMES_KEY))
        return {cast("tuple[str, str]", tuple(field.split(" ", 1))): int(count) for field, count in counted.items()}

    def failures(self) -> Mapping[str, int]:
        """By job, how many items have failed since Redis was new. Raises Unavailable."""
        counted = cast("dict[str, str]", self._redis.hgetall(FAILURES_KEY))
        return {job: int(count) for job, count in counted.items()}
