"""Concurrency leases, in Redis: they bound how much is under way at once, and run out when their holder dies.

The lease of a generation, which says that a worker writes it, is a column in SQL (core/generation/attempts.py).
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import cast
from uuid import UUID

from core.limits.rate_limit import NOW, PREFIX
from core.limits.status import LimitStatus, RateLimited
from core.stores.redis import Pipeline, Redis, Script

# A counter would leak one for every holder that dies. Here each holder is a member of a sorted set, its score
# the moment at which it counts no longer, unless it says before that it is alive.
LEASES = """
local function hold(key, holder, lease)
  redis.call('ZADD', key, string.format('%.0f', now + lease), holder)
  if redis.call('PTTL', key) < lease / 1000 then redis.call('PEXPIRE', key, math.ceil(lease / 1000)) end
end
local function acquire(key, holder, limit, lease)
  local lapsed = string.format('%.0f', now)
  local lives = tonumber(redis.call('ZSCORE', key, holder) or 0) > now
  local room = lives or redis.call('ZCOUNT', key, '(' .. lapsed, '+inf') < limit
  -- First: a Redis without memory refuses only what a script writes first.
  if room then hold(key, holder, lease) end
  redis.call('ZREMRANGEBYSCORE', key, '-inf', lapsed)
  return room
end
"""
"""For scripts: `acquire` says whether the holder is one of at most `limit`, for so many microseconds."""

ACQUIRE = (
    LEASES
    + """
local taken = 0
for i = 3, #ARGV do
  if not acquire(KEYS[1], ARGV[i], tonumber(ARGV[1]), tonumber(ARGV[2])) then break end
  taken = taken + 1
end
return {taken, redis.call('ZCARD', KEYS[1])}
"""
)

RENEW = LEASES + "hold(KEYS[1], ARGV[1], tonumber(ARGV[2]))"

RETRY_AFTER = 2
"""Seconds after which trying again makes sense: when what is under way will end is not known."""


class Leases:
    """Concurrency leases of one policy, counted by owner. All methods raise Unavailable when Redis is away."""

    def __init__(self, redis: Redis, policy: str) -> None:
        self._redis = redis
        self._policy = policy
        self._acquire: Script = redis.register_script(NOW + ACQUIRE)
        self._renew: Script = redis.register_script(NOW + RENEW)

    def acquire(self, owner: UUID | str, holder: UUID | str, limit: int, lease: timedelta) -> LimitStatus:
        """Let `holder` be one of at most `limit` of the owner's, for as long as the lease; one that is stays one.

        Raises RateLimited.
        """
        taken, held = self._take(owner, [holder], limit, lease)
        return self.decide(bool(taken), held, limit)

    def acquire_some(self, owner: UUID | str, holders: Sequence[UUID | str], limit: int, lease: timedelta) -> int:
        """As `acquire`, for as many of the holders as there is room for, the first ones first; how many."""
        return self._take(owner, holders, limit, lease)[0]

    def decide(self, taken: bool, held: int, limit: int) -> LimitStatus:
        """How the owner stands with `held` leases. Raises RateLimited when none was to be had."""
        limit_status = self.status(held, limit)
        if not taken:
            raise RateLimited(
                f"At most {limit} may be under way at once; wait until one has ended.",
                retry_after=RETRY_AFTER,
                limit=self._policy,
                limit_statuses=[limit_status],
            )
        return limit_status

    def status(self, held: int, limit: int) -> LimitStatus:
        """How an owner stands with `held` leases."""
        # More than the limit are held after an operator has lowered it.
        return LimitStatus(self._policy, limit, max(0, limit - held), unit="concurrent-requests")

    def renew(self, owner: UUID | str, holder: UUID | str, lease: timedelta) -> None:
        """The holder, which was let in before, lives: it counts for a lease from now, whether its lease has been lost
        and others came meanwhile or not."""
        self._renew(keys=[self.key(owner)], args=[str(holder), microseconds(lease)])

    def add_renewal(self, pipe: Pipeline, owner: UUID | str, holder: UUID | str, lease: timedelta) -> None:
        """Add to a pipeline what `renew` does."""
        self._renew(keys=[self.key(owner)], args=[str(holder), microseconds(lease)], client=pipe)

    def release(self, owner: UUID | str, holder: UUID | str) -> None:
        """The holder is done. Harmless when it holds none."""
        self._redis.zrem(self.key(owner), str(holder))

    def add_release(self, pipe: Pipeline, owner: UUID | str, holder: UUID | str) -> None:
        """Add to a pipeline what `release` does."""
        pipe.zrem(self.key(owner), str(holder))

    def holders(self, owner: UUID | str) -> list[str]:
        """Those of the owner's that hold a lease, the ones first whose leases end first."""
        seconds, microseconds = self._redis.time()
        return [
            str(holder)
            for holder in self._redis.zrangebyscore(self.key(owner), f"({seconds * 1_000_000 + microseconds}", "+inf")
        ]

    def key(self, owner: UUID | str) -> str:
        """The name in Redis of the owner's leases."""
        return f"{PREFIX}{self._policy}:{owner}"

    def _take(
        self, owner: UUID | str, holders: Sequence[UUID | str], limit: int, lease: timedelta
    ) -> tuple[int, int]:
        args: list[int | str] = [limit, microseconds(lease), *map(str, holders)]
        taken, held = cast("tuple[int, int]", self._acquire(keys=[self.key(owner)], args=args))
        return taken, held


def microseconds(lease: timedelta) -> int:
    """The lease, as scripts have it."""
    return lease // timedelta(microseconds=1)
