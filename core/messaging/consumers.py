"""Which queues have a live consumer. Workers say so with each heartbeat; /readyz reads it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from core.stores.redis import Redis, Script

HEARTBEAT_TTL = 10
"""Seconds that a heartbeat counts; Celery's workers send one every two."""

# By queue a sorted set of nodes, each with the moment until which it counts: one that stops takes itself out, and
# none of the others.
ANNOUNCE = """
local now = tonumber(redis.call('TIME')[1])
for _, key in ipairs(KEYS) do
  redis.call('ZADD', key, now + ARGV[2], ARGV[1])
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - 1)
  redis.call('EXPIRE', key, ARGV[2] * 2)
end
"""
COUNT = """
local now, counts = tonumber(redis.call('TIME')[1]), {}
for i, key in ipairs(KEYS) do counts[i] = redis.call('ZCOUNT', key, now, '+inf') end
return counts
"""


class Presence:
    """Consumers by queue."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._announce: Script = redis.register_script(ANNOUNCE)
        self._count: Script = redis.register_script(COUNT)

    def announce(self, queues: Iterable[str], node: str) -> None:
        """This node consumes from these queues."""
        if names := [_key(queue) for queue in queues]:
            self._announce(keys=names, args=[node, HEARTBEAT_TTL])

    def withdraw(self, queues: Iterable[str], node: str) -> None:
        """This node stops."""
        with self._redis.pipeline(transaction=False) as pipe:
            for queue in queues:
                pipe.zrem(_key(queue), node)
            pipe.execute()

    def missing(self, queues: Sequence[str]) -> list[str]:
        """Those of the queues that have had no consumer lately."""
        return [queue for queue, count in self.count(queues).items() if count == 0]

    def count(self, queues: Sequence[str]) -> Mapping[str, int]:
        """By queue, how many consumers it has had lately."""
        counts = cast("list[int]", self._count(keys=[_key(queue) for queue in queues], args=[]))
        return dict(zip(queues, counts, strict=True))


def _key(queue: str) -> str:
    return f"sb:consumer:{{queues}}:{queue}"
