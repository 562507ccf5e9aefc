"""RateLimiter: charges all of a request's buckets at once, in Redis, so that every process sees the same."""

import hmac
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from core.limits import gcra
from core.limits.rate import Rate
from core.limits.status import LimitStatus, RateLimited
from core.stores.redis import Pipeline, Redis, Script

NOW = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
"""
"""Redis's own clock: the servers' clocks need not agree. A test puts a clock of its own in its place."""

CHARGE = """
local admitted, backlogs = 1, {}
for i = 1, #KEYS do
  local taken, capacity = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local arrival = tonumber(redis.call('GET', KEYS[i]) or now)
  backlogs[i] = math.min(math.max(arrival - now, 0), capacity)
  if backlogs[i] + taken > capacity then admitted = 0 end
end
if admitted == 1 then
  for i = 1, #KEYS do
    backlogs[i] = backlogs[i] + tonumber(ARGV[2 * i - 1])
    -- Lua would write 1.7e+15. When the backlog is gone, the key says nothing any more, and goes too.
    redis.call('SET', KEYS[i], string.format('%.0f', now + backlogs[i]), 'PX', math.ceil(backlogs[i] / 1000))
  end
end
return {admitted, unpack(backlogs)}
"""

# What was reserved is forgotten with its settlement, so that a second one changes nothing.
SETTLE = """
local reserved = redis.call('HGET', KEYS[2], ARGV[1])
if not reserved then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
local used, interval, capacity = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local arrival = tonumber(redis.call('GET', KEYS[1]) or now)
local backlog = math.min(math.max(arrival - now, 0), capacity) + (used - reserved) * interval
backlog = math.min(math.max(backlog, 0), capacity)
if backlog == 0 then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], string.format('%.0f', now + backlog), 'PX', math.ceil(backlog / 1000))
end
return 1
"""

PREFIX = "sb:{limit}:"
"""The part in braces puts all buckets into one slot of a Redis Cluster, where a script may only touch one."""
SALT_TTL = 86400
"""Seconds after which the salt is another one."""
SALT_CACHE_TTL = 60.0
"""Seconds that a process goes on with the salt it knows, also when Redis has lost it."""


@dataclass(frozen=True)
class Bucket:
    """What is limited (`policy`), for whom (`subject`, any text: it is kept only as a hash), and to what rate."""

    policy: str
    subject: str
    rate: Rate
    public: bool = True
    """Whether the client is told how full it is: not of what it shares with strangers."""
    cost: int = 1
    """How many units are taken. More than there can ever be are taken as all there can be."""
    unit: str = "requests"

    @property
    def charge(self) -> gcra.Charge:
        """As the arithmetic has it."""
        return gcra.Charge(self.rate, min(self.cost, self.rate.burst))


@dataclass(frozen=True)
class Decision:
    """What became of a charge."""

    admitted: bool
    limit_statuses: Sequence[LimitStatus] = ()
    """Of the public buckets, in their order."""
    retry_after: int = 0
    """Seconds until all buckets admit, if no other request comes. 0 when they did."""
    tripped: str | None = None
    """The policy that refused; of several, the one that does so for longest."""


class RateLimiter:
    """Buckets in Redis. Given a client with short timeouts and without retries, it answers soon or not at all."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._charge: Script = redis.register_script(NOW + CHARGE)
        self._settle: Script = redis.register_script(NOW + SETTLE)
        self._salt = b""
        self._salt_until = 0.0

    def charge(self, buckets: Sequence[Bucket]) -> Decision:
        """Take its cost from every bucket or, when one of them has too little, from none. Raises Unavailable."""
        if not buckets:
            return Decision(admitted=True)
        admitted, *backlogs = cast(
            "list[int]",
            self._charge(
                keys=[self.key(bucket) for bucket in buckets],
                args=[number for bucket in buckets for number in _taken_and_capacity(bucket.charge)],
            ),
        )
        return _decision(bool(admitted), buckets, backlogs)

    def require(self, buckets: Sequence[Bucket]) -> Decision:
        """`charge`, and raise RateLimited when it is refused."""
        decision = self.charge(buckets)
        if decision.tripped is not None:
            raise RateLimited(
                retry_after=decision.retry_after, limit=decision.tripped, limit_statuses=decision.limit_statuses
            )
        return decision

    def reserve(self, bucket: Bucket, account: str, item: str) -> None:
        """Note in the account what has been charged for an item whose price is not known yet. Raises Unavailable."""
        key = _account_key(account)
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(key, item, str(bucket.charge.cost))
            # Once the bucket is full again, there is nothing to give back.
            pipe.pexpire(key, -(-bucket.rate.capacity // 1000))
            pipe.execute()

    def settle(self, bucket: Bucket, account: str, item: str) -> None:
        """The item's price is known, it is the bucket's cost: take the difference to what was reserved, or give it
        back. Once: an item that has nothing reserved is settled. Raises Unavailable."""
        self._settle(
            keys=[self.key(bucket), _account_key(account)],
            args=[item, bucket.cost, bucket.rate.interval, bucket.rate.capacity],
        )

    def add_forget(self, pipe: Pipeline, account: str, item: str | None = None) -> None:
        """Add to a pipeline: the item, or every item of the account, is settled with what was reserved for it."""
        if item is None:
            pipe.delete(_account_key(account))
        else:
            pipe.hdel(_account_key(account), item)

    def key(self, bucket: Bucket) -> str:
        """The bucket's name in Redis. Raises Unavailable when the salt must be read and Redis is away."""
        # A keyed hash, because a bucket's subject may be the address of a person who is to leave no trace. The
        # salt is random, lives in Redis so that all processes have the same, and dies after a day: the hashes of
        # yesterday can then not even be tried out. The price is that a new day begins with full buckets.
        digest = hmac.digest(self._current_salt(), f"{bucket.policy} {bucket.subject}".encode(), "sha256")
        return f"{PREFIX}{bucket.policy}:{urlsafe_b64encode(digest[:15]).decode()}"

    def _current_salt(self) -> bytes:
        if time.monotonic() >= self._salt_until:
            name = f"{PREFIX}salt"
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(name, secrets.token_hex(32), nx=True, ex=SALT_TTL)
                pipe.get(name)
                self._salt = pipe.execute()[1].encode()
            self._salt_until = time.monotonic() + SALT_CACHE_TTL
        return self._salt


def _taken_and_capacity(charge: gcra.Charge) -> tuple[int, int]:
    return charge.rate.interval * charge.cost, charge.rate.capacity


def _account_key(account: str) -> str:
    return f"{PREFIX}reserved:{account}"


def _decision(admitted: bool, buckets: Sequence[Bucket], backlogs: Sequence[int]) -> Decision:
    pairs = list(zip(buckets, backlogs, strict=True))
    limit_statuses = [
        LimitStatus(
            bucket.policy,
            bucket.rate.burst,
            gcra.remaining(backlog, bucket.rate),
            gcra.seconds(bucket.rate.capacity),
            gcra.seconds(gcra.restores(backlog, bucket.rate)),
            bucket.unit,
        )
        for bucket, backlog in pairs
        if bucket.public
    ]
    if admitted:
        return Decision(True, limit_statuses)
    wait, policy = max((gcra.missing(backlog, *bucket.charge), bucket.policy) for bucket, backlog in pairs)
    return Decision(False, limit_statuses, gcra.seconds(wait), policy)
