"""The result of the last check of the invariants, in Redis: a worker writes it, /metrics shows it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from core.clock import Clock
from core.operations.invariants import InvariantResult
from core.stores.redis import Redis

KEY = "sb:invariants"
HEALED = "sb:invariants:healed"
RESULT_TTL = 300
"""Seconds that a result is kept: several of the schedule's periods (celery_config.py)."""


@dataclass(frozen=True)
class CheckResult:
    """One check."""

    at: datetime
    broken: Mapping[str, int]
    """By the name of the invariant, how much breaks it; 0 where it holds."""
    healed: Mapping[str, int]
    """By the name of the invariant, how much has ever been healed."""


class CheckResults:
    """Stores the newest result. All methods raise Unavailable."""

    def __init__(self, redis: Redis, clock: Clock) -> None:
        self._redis = redis
        self._clock = clock

    def save(self, results: Sequence[InvariantResult], healed: Mapping[str, int]) -> None:
        """Save by invariant how much breaks it, and how much was healed. Only numbers are kept, no ids."""
        broken = {result.name: len(result.ids) for result in results}
        for name, count in healed.items():
            self._redis.hincrby(HEALED, name, count)
        self._redis.set(KEY, json.dumps({"at": self._clock.now().timestamp(), "broken": broken}), ex=RESULT_TTL)

    def latest(self) -> CheckResult | None:
        """The last result, or None when there was no check within RESULT_TTL."""
        kept = self._redis.get(KEY)
        if kept is None:
            return None
        found = json.loads(str(kept))
        healed = {str(name): int(count) for name, count in self._redis.hgetall(HEALED).items()}
        return CheckResult(datetime.fromtimestamp(found["at"], UTC), found["broken"], healed)
