"""RateLimiter: charges all of a request's buckets at once, in Redis, so that every process sees the same."""

import hmac
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple, cast

from core.limits import gcra
from core.limits.rate import Rate
from core.limits.status import LimitStatus, RateLimited
from core.stores.combiner import Combiner
from core.stores.redis import RETRY_AFTER, Redis, RedisDamaged, RedisUnavailable, Script

NOW = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
"""
"""Redis's own clock: the servers' clocks need not agree. A test puts a clock of its own in its place."""

# Lua would write 1.7e+15. When a backlog is gone, its key says nothing any more, and goes too.
BUCKETS = """
local function backlog_of(key, capacity)
  return math.min(math.max(tonumber(redis.call('GET', key) or now) - now, 0), capacity)
end
local function keep(key, backlog)
  if backlog == 0 then redis.call('DEL', key) return end
  redis.call('SET', key, string.format('%.0f', now + backlog), 'PX', math.ceil(backlog / 1000))
end
local function charge(keys, amounts)
  local admitted, backlogs = 1, {}
  for i, key in ipairs(keys) do
    local taken, capacity = tonumber(amounts[2 * i - 1]), tonumber(amounts[2 * i])
    backlogs[i] = backlog_of(key, capacity)
    if backlogs[i] + taken > capacity then admitted = 0 end
  end
  if admitted == 1 then
    for i, key in ipairs(keys) do
      backlogs[i] = backlogs[i] + tonumber(amounts[2 * i - 1])
      keep(key, backlogs[i])
    end
  end
  return admitted, backlogs
end
"""
"""For scripts: `charge` takes from several buckets or from none, each with what is taken and its capacity."""

CHARGE = (
    BUCKETS
    + """
local answers, charges, first = {}, tonumber(ARGV[1]), 0
for number = 1, charges do
  local last = first + tonumber(ARGV[1 + number])
  local amounts = {unpack(ARGV, 2 + charges + 2 * first, 1 + charges + 2 * last)}
  local admitted, backlogs = charge({unpack(KEYS, first + 1, last)}, amounts)
  answers[number], first = {admitted, unpack(backlogs)}, last
end
return answers
"""
)
"""Charges, one after the other: their number, the number of buckets of each, and the amounts of all."""

PREFIX = "sb:{limit}:"
"""The part in braces puts all buckets into one slot of a Redis Cluster, where a script may only touch one."""
SALT_TTL = 86400
"""Seconds after which the salt is another one."""
SALT_CACHE_TTL = 60.0
"""Seconds that a process goes on with the salt it knows, also when Redis has lost it."""
MAX_TOGETHER = 100
"""Charges in one round trip, after which Redis has others' turn."""


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
    durable: bool = False
    """Whether it is known by its subject for longer than a day: a user's may be, and no anonymous person's."""

    @property
    def charge(self) -> gcra.Charge:
        """As the arithmetic has it."""
        return gcra.Charge(self.rate, min(self.cost, self.rate.burst))


@dataclass(frozen=True)
class Decision:
    """What became of a charge."""

    admitted: bool
    limit_statuses: Sequence[LimitStatus] = ()
    """Of the public buckets, and of the one that refuses, in their order."""
    retry_after: int = 0
    """Seconds until all buckets admit, if no other request comes. 0 when they did."""
    tripped: str | None = None
    """The policy that refused; of several, the one that does so for longest."""

    def require(self) -> "Decision":
        """This one, if it admits. Raises RateLimited."""
        if self.tripped is not None:
            raise RateLimited(retry_after=self.retry_after, limit=self.tripped, limit_statuses=self.limit_statuses)
        return self


class _Charge(NamedTuple):
    """What is to be taken from the buckets of one request."""

    keys: Sequence[str]
    amounts: Sequence[int]
    came: float


class RateLimiter:
    """Buckets in Redis. Given a client with short timeouts and without retries, it answers soon or not at all."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._charge: Script = redis.register_script(NOW + CHARGE)
        self._together = Combiner[_Charge, list[int] | RedisUnavailable](self._charge_together, MAX_TOGETHER)
        self._failed_at = 0.0
        self._salt = b""
        self._salt_until = 0.0

    def charge(self, buckets: Sequence[Bucket]) -> Decision:
        """Take its cost from every bucket or, when one of them has too little, from none. Raises Unavailable.

        Charges that come while one is under way are asked for together.
        """
        if not buckets:
            return Decision(admitted=True)
        keys = [self.key(bucket) for bucket in buckets]
        answer = self._together.call(_Charge(keys, amounts(buckets), time.monotonic()))
        if isinstance(answer, RedisUnavailable):
            raise answer
        admitted, *backlogs = answer
        return decision(bool(admitted), buckets, backlogs)

    def require(self, buckets: Sequence[Bucket]) -> Decision:
        """`charge`, and raise RateLimited when it is refused."""
        return self.charge(buckets).require()

    def key(self, bucket: Bucket) -> str:
        """The bucket's name in Redis. Raises Unavailable when the salt must be read and Redis is away."""
        return self.name(bucket.policy, bucket.subject, durable=bucket.durable)

    def name(self, policy: str, subject: str, *, durable: bool = False) -> str:
        """The name in Redis of the subject's bucket. Raises as `key` does."""
        # A keyed hash, because a bucket's subject may be the address of a person who is to leave no trace. The
        # salt is random, lives in Redis so that all processes have the same, and dies after a day: the hashes of
        # yesterday can then not even be tried out. The price is that a new day begins with full buckets. Users are
        # known in SQL, and a budget of theirs may be for a month: then there is no salt.
        salt = b"" if durable else self._current_salt()
        digest = hmac.digest(salt, f"{policy} {subject}".encode(), "sha256")
        return f"{PREFIX}{policy}:{urlsafe_b64encode(digest[:15]).decode()}"

    def _charge_together(self, charges: Sequence["_Charge"]) -> Sequence[list[int] | RedisUnavailable]:
        if charges[0].came < self._failed_at:
            # They have waited for one that was not answered, and have no time left for another.
            raise RedisUnavailable(retry_after=RETRY_AFTER)
        try:
            return self._carry_out(charges)
        except RedisDamaged as error:
            # Another's key, maybe. What was charged before it is charged once more then.
            return [error] if len(charges) == 1 else [self._charge_alone(charge) for charge in charges]
        except RedisUnavailable:
            self._failed_at = time.monotonic()
            raise

    def _charge_alone(self, charge: "_Charge") -> list[int] | RedisUnavailable:
        try:
            return self._carry_out([charge])[0]
        except RedisDamaged as error:
            return error

    def _carry_out(self, charges: Sequence["_Charge"]) -> list[list[int]]:
        sizes = [len(charge.keys) for charge in charges]
        return cast(
            "list[list[int]]",
            self._charge(
                keys=[key for charge in charges for key in charge.keys],
                args=[len(charges), *sizes, *(amount for charge in charges for amount in charge.amounts)],
            ),
        )

    def _current_salt(self) -> bytes:
        if time.monotonic() >= self._salt_until:
            name = f"{PREFIX}salt"
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(name, secrets.token_hex(32), nx=True, ex=SALT_TTL)
                pipe.get(name)
                self._salt = pipe.execute()[1].encode()
            self._salt_until = time.monotonic() + SALT_CACHE_TTL
        return self._salt


def amounts(buckets: Sequence[Bucket]) -> list[int]:
    """What is taken from each bucket, and its capacity, one after the other: in microseconds."""
    charges = (one.charge for one in buckets)
    return [number for rate, cost in charges for number in (rate.interval * cost, rate.capacity)]


def decision(admitted: bool, buckets: Sequence[Bucket], backlogs: Sequence[int]) -> Decision:
    """What a script's `charge` of these buckets has come to."""
    pairs = list(zip(buckets, backlogs, strict=True))
    wait, tripped = 0, None
    if not admitted:
        # One that refuses is told, also when its level is not: who reads no more than the header would try at once.
        wait, tripped = max(
            ((gcra.missing(backlog, *bucket.charge), bucket) for bucket, backlog in pairs), key=itemgetter(0)
        )
    limit_statuses = [
        LimitStatus(
            bucket.policy,
            bucket.rate.burst,
            gcra.remaining(backlog, bucket.rate),
            gcra.seconds(bucket.rate.capacity),
            gcra.seconds(gcra.restores(backlog, bucket.rate)),
            bucket.unit,
            gcra.seconds(backlog),
        )
        for bucket, backlog in pairs
        if bucket.public or bucket is tripped
    ]
    if tripped is None:
        return Decision(True, limit_statuses)
    return Decision(False, limit_statuses, gcra.seconds(wait), tripped.policy)
