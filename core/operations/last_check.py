"""What the last check of the invariants found, kept in Redis: a worker checks, the web processes tell of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from core.clock import Clock
from core.operations.invariants import Finding
from core.stores.redis import Redis

KEY = "sb:invariants"
HEALED = "sb:invariants:healed"
KEPT = 300
"""Seconds after which it says nothing any more: several of the schedule's periods (celery_config.py)."""


@dataclass(frozen=True)
class Checked:
    """One check."""

    at: datetime
    broken: Mapping[str, int]
    """By the name of the invariant, how much breaks it; 0 where it holds."""
    healed: Mapping[str, int]
    """By the name of the invariant, how much has ever been mended."""


class LastCheck:
    """The newest result, for as long as it is worth something. All methods raise Unavailable."""

    def __init__(self, redis: Redis, clock: Clock) -> None:
        self._redis = redis
        self._clock = clock

    def keep(self, findings: Sequence[Finding], healed: Mapping[str, int]) -> None:
        """These have just been found, and so many mended. Numbers alone are kept, no ids."""
        broken = {finding.name: len(finding.ids) for finding in findings}
        for name, count in healed.items():
            self._redis.hincrby(HEALED, name, count)
        self._redis.set(KEY, json.dumps({"at": self._clock.now().timestamp(), "broken": broken}), ex=KEPT)

    def read(self) -> Checked | None:
        """The last one, or None when there was none lately."""
        kept = self._redis.get(KEY)
        if kept is None:
            return None
        found = json.loads(str(kept))
        healed = {str(name): int(count) for name, count in self._redis.hgetall(HEALED).items()}
        return Checked(datetime.fromtimestamp(found["at"], UTC), found["broken"], healed)
