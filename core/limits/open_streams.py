"""How many event streams may be open at once: of one session, one user and one address, over all processes.

Each process holds one lease in Redis, however many streams it has, and beside it the numbers of its streams. When it
dies, its lease runs out, and with it all that it held. So ten thousand readers cost one command every few seconds.
"""

import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from threading import Event, Lock, Thread
from typing import cast
from uuid import UUID

from core.errors import Unavailable
from core.limits.buckets import address_buckets
from core.limits.rate import SECOND, Rate
from core.limits.rate_limit import NOW, PREFIX, Bucket, RateLimiter
from core.limits.status import LimitStatus, RateLimited
from core.stores.redis import Redis, Script

# A subject's key is a hash: process -> "order:number of its streams". The number is absolute and the order grows with
# every change in that process, so that a command which comes late, or twice, does no harm.
ADMIT = """
local process, order, kept = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
for i = 2, #KEYS do
  local held = tonumber(ARGV[2 * i + 1])
  local fields = redis.call('HGETALL', KEYS[i])
  for j = 1, #fields, 2 do
    if fields[j] ~= process then
      local lease = tonumber(redis.call('ZSCORE', KEYS[1], fields[j]) or 0)
      if lease > now then held = held + tonumber(string.match(fields[j + 1], ':(%d+)$'))
      else redis.call('HDEL', KEYS[i], fields[j]) end
    end
  end
  if held > tonumber(ARGV[2 * i]) then return i - 1 end
end
"""

# The numbers follow the limits: KEYS[i] has its limit in ARGV[2i] and its number in ARGV[2i + 1].
WRITE = """
local process, order, kept = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
for i = 2, #KEYS do
  local known = redis.call('HGET', KEYS[i], process)
  if not known or tonumber(string.match(known, '^%d+')) < order then
    local held = tonumber(ARGV[2 * i + 1])
    if held > 0 then
      redis.call('HSET', KEYS[i], process, string.format('%.0f:%.0f', order, held))
      redis.call('PEXPIRE', KEYS[i], kept)
    else redis.call('HDEL', KEYS[i], process) end
  end
end
return 0
"""

# Whether the lease was still there: if not, others may have forgotten this process, or Redis has.
RENEW = """
local before = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(tonumber(ARGV[2]) / 1000))
if before > now then return 1 end
return 0
"""

logger = logging.getLogger(__name__)

PROCESS_LEASE_TTL = 30.0
"""Seconds that the streams of a silent process are still counted."""
LEASE_RENEWAL_INTERVAL = 8.0
"""Seconds between two renewals: three may fail."""
COUNT_TTL = 2 * 3600
"""Seconds that a number is kept after the last stream came. Streams end sooner (web/streaming/reader.py, ROTATE)."""
RESYNC_BATCH = 200
"""Subjects that are written again in one command, after Redis has lost them."""
RETRY_AFTER = 5
"""Seconds after which trying again makes sense: when a stream will end is not known."""
_PROCESSES = f"{PREFIX}stream-processes"


@dataclass(frozen=True)
class StreamLimits:
    """How many at once. None: any number."""

    per_session: int | None
    per_user: int | None
    per_address: int | None
    """Of one IPv4 address or one /64; wider networks have 4 and 16 times as many."""


class OpenStreams:
    """This process's streams among those of all. Given a Redis client that fails soon."""

    def __init__(self, redis: Redis, limiter: RateLimiter, limits: StreamLimits) -> None:
        self._redis = redis
        self._limiter = limiter
        self._limits = limits
        self._admit: Script = redis.register_script(NOW + ADMIT + WRITE)
        self._write: Script = redis.register_script(WRITE)
        self._renew: Script = redis.register_script(NOW + RENEW)
        self._process = secrets.token_hex(6)
        self._lock = Lock()
        self._order = 0
        self._held: dict[str, int] = {}
        """By subject's key, how many streams of this process."""
        self._stale: set[str] = set()
        """Subjects whose number in Redis may be another."""
        self._leased_until = 0.0
        self._closed = Event()
        self._renewal_thread: Thread | None = None

    def open(self, session_id: UUID | None, user_id: UUID | None, address: str | None) -> Sequence[str]:
        """Count a stream that is about to begin, until `close` is given what this returns.

        Raises RateLimited, when one of the three has as many as it may, or Unavailable.
        """
        buckets = self._buckets(session_id, user_id, address)
        if not buckets:
            return ()
        self._ensure_lease()
        keys = [self._limiter.key(bucket) for bucket in buckets]
        order = self._change(keys, 1)
        try:
            refused = cast("int", self._admit(keys=[_PROCESSES, *keys], args=self._arguments(order, keys, buckets)))
        except Unavailable:
            self._uncount(keys)
            raise
        if refused:
            self._uncount(keys)
            raise _refusal(buckets[refused - 1])
        return keys

    def close(self, keys: Sequence[str]) -> None:
        """The stream has ended. Without Redis, it is told later."""
        if not keys:
            return
        order = self._change(keys, -1)
        try:
            self._write_counts(order, keys)
            if not self._held:
                self._give_lease_back()
        except Unavailable:
            self._stale.update(keys)

    def stop(self) -> None:
        """Let the keeper end."""
        self._closed.set()

    def _buckets(self, session_id: UUID | None, user_id: UUID | None, address: str | None) -> list[Bucket]:
        limits = self._limits
        found = []
        if session_id is not None and limits.per_session is not None:
            found.append(Bucket("streams-session", str(session_id), _at_once(limits.per_session)))
        if user_id is not None and limits.per_user is not None:
            found.append(Bucket("streams-user", str(user_id), _at_once(limits.per_user)))
        if limits.per_address is not None:
            found += address_buckets("streams-address", address, _at_once(limits.per_address))
        return found

    def _change(self, keys: Sequence[str], by: int) -> int:
        """Count here, and give the change its place in the order of changes."""
        with self._lock:
            for key in keys:
                held = self._held.pop(key, 0) + by
                if held > 0:
                    self._held[key] = held
            self._order += 1
            return self._order

    def _uncount(self, keys: Sequence[str]) -> None:
        # What another stream has told meanwhile may have counted this one.
        self._change(keys, -1)
        self._stale.update(keys)

    def _arguments(self, order: int, keys: Sequence[str], buckets: Sequence[Bucket] = ()) -> list[str | int]:
        limits = [bucket.rate.burst for bucket in buckets] or [0] * len(keys)
        pairs = [
            number for key, limit in zip(keys, limits, strict=True) for number in (limit, self._held.get(key, 0))
        ]
        return [self._process, order, COUNT_TTL * 1000, *pairs]

    def _write_counts(self, order: int, keys: Sequence[str]) -> None:
        self._write(keys=[_PROCESSES, *keys], args=self._arguments(order, keys))

    def _ensure_lease(self) -> None:
        """Have a lease of this process's, and a thread that renews it."""
        with self._lock:
            if self._renewal_thread is None:
                self._renewal_thread = Thread(target=self._run_renewals, name="open-streams", daemon=True)
                self._renewal_thread.start()
        if time.monotonic() >= self._leased_until:
            self.renew()

    def _give_lease_back(self) -> None:
        # A stream that begins at this very moment is told again with the next renewal.
        self._leased_until = 0.0
        self._redis.zrem(_PROCESSES, self._process)

    def renew(self) -> None:
        """Say that this process lives; and if that had been forgotten, what it holds. Raises Unavailable."""
        began = time.monotonic()
        known = self._renew(keys=[_PROCESSES], args=[self._process, int(PROCESS_LEASE_TTL * SECOND)])
        self._leased_until = began + PROCESS_LEASE_TTL
        if not known:
            self._stale.update(self._held)
        while self._stale:
            batch = list(islice(self._stale, RESYNC_BATCH))
            self._stale.difference_update(batch)
            try:
                self._write_counts(self._change((), 0), batch)
            except Unavailable:
                self._stale.update(batch)
                raise

    def _run_renewals(self) -> None:
        while not self._closed.wait(LEASE_RENEWAL_INTERVAL):
            try:
                if self._held or self._stale:
                    self.renew()
            except Unavailable:
                logger.warning("the lease of this process's streams could not be renewed: Redis is away")
            except Exception:
                logger.exception("the keeper of this process's streams failed and goes on")


def _at_once(count: int) -> Rate:
    """A number as a rate, for what is counted like one (core/limits/buckets.py)."""
    return Rate(count, count * SECOND, count)


def _refusal(bucket: Bucket) -> RateLimited:
    limit = bucket.rate.burst
    whose = bucket.policy.removeprefix("streams-").replace("-", "'s ")
    return RateLimited(
        f"At most {limit} event streams may be open at once for one {whose}; close one, or try again in a moment.",
        retry_after=RETRY_AFTER,
        limit=bucket.policy,
        limit_statuses=[LimitStatus(bucket.policy, limit, 0, unit="concurrent-requests")] if bucket.public else [],
    )
