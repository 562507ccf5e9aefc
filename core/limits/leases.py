"""Concurrency leases, in Redis: they bound how much is under way at once, and run out when their holder dies.

The lease of a generation, which says that a worker writes it, is a column in SQL (core/generation/attempts.py).
"""

from datetime import timedelta
from typing import cast
from uuid import UUID

from core.limits.rate_limit import NOW, PREFIX
from core.limits.status import LimitStatus, RateLimited
from core.stores.redis import Pipeline, Redis, Script

# A counter would leak one for every holder that dies. Here each holder is a member of a sorted set, its score
# the moment at which it counts no longer, unless it says before that it is alive.
ACQUIRE = """
local holder, limit, lease = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
if redis.call('ZCARD', KEYS[1]) >= limit and not redis.call('ZSCORE', KEYS[1], holder) then
  return {0, redis.call('ZCARD', KEYS[1])}
end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + lease), holder)
if redis.call('PTTL', KEYS[1]) < lease / 1000 then redis.call('PEXPIRE', KEYS[1], math.ceil(lease / 1000)) end
return {1, redis.call('ZCARD', KEYS[1])}
"""

RENEW = """
local holder, lease = ARGV[1], tonumber(ARGV[2])
redis.call('ZADD', KEYS[1], string.format('%.0f', now + lease), holder)
if redis.call('PTTL', KEYS[1]) < lease / 1000 then redis.call('PEXPIRE', KEYS[1], math.ceil(lease / 1000)) end
"""

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
        taken, held = cast(
            "tuple[int, int]",
            self._acquire(keys=[self._key(owner)], args=[str(holder), limit, _microseconds(lease)]),
        )
        # More than the limit are held after an operator has lowered it.
        limit_status = LimitStatus(self._policy, limit, max(0, limit - held), unit="concurrent-requests")
        if not taken:
            raise RateLimited(
                f"At most {limit} may be under way at once; wait until one has ended.",
                retry_after=RETRY_AFTER,
                limit=self._policy,
                limit_statuses=[limit_status],
            )
        return limit_status

    def renew(self, owner: UUID | str, holder: UUID | str, lease: timedelta) -> None:
        """The holder, which was let in before, lives: it counts for a lease from now, whether its lease has been lost
        and others came meanwhile or not."""
        self._renew(keys=[self._key(owner)], args=[str(holder), _microseconds(lease)])

    def add_renewal(self, pipe: Pipeline, owner: UUID | str, holder: UUID | str, lease: timedelta) -> None:
        """Add to a pipeline what `renew` does."""
        self._renew(keys=[self._key(owner)], args=[str(holder), _microseconds(lease)], client=pipe)

    def release(self, owner: UUID | str, holder: UUID | str) -> None:
        """The holder is done. Harmless when it holds none."""
        self._redis.zrem(self._key(owner), str(holder))

    def add_release(self, pipe: Pipeline, owner: UUID | str, holder: UUID | str | None = None) -> None:
        """Add to a pipeline: the holder is done; without one, all of the owner's are."""
        if holder is None:
            pipe.delete(self._key(owner))
        else:
            pipe.zrem(self._key(owner), str(holder))

    def holders(self, owner: UUID | str) -> list[str]:
        """Those of the owner's that hold a lease, the ones first whose leases end first."""
        seconds, microseconds = self._redis.time()
        return [
            str(holder)
            for holder in self._redis.zrangebyscore(
                self._key(owner), f"({seconds * 1_000_000 + microseconds}", "+inf"
            )
        ]

    def _key(self, owner: UUID | str) -> str:
        return f"{PREFIX}{self._policy}:{owner}"


def _microseconds(lease: timedelta) -> int:
    return lease // timedelta(microseconds=1)
