"""Whose Redis it is: two installations that share one by mistake take each other's messages, turns and words.

An installation is known by its database, and each of its workers says now and then that it is there.
"""

from hashlib import sha256
from typing import cast

from core.stores.database import Database
from core.stores.redis import Redis, Script

ANNOUNCE_INTERVAL = 5.0
"""Seconds between two times that a worker says so."""
TTL = 15
"""Seconds that it counts."""
KEY = "sb:{installations}"
"""A sorted set: by installation the moment until which it counts, by Redis's clock."""

ANNOUNCE = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 1)
redis.call('EXPIRE', KEYS[1], ARGV[2] * 2)
"""
PRESENT = """
return redis.call('ZRANGEBYSCORE', KEYS[1], redis.call('TIME')[1], '+inf')
"""


class Installations:
    """Those whose workers use this Redis. All methods raise Unavailable."""

    def __init__(self, database: Database, redis: Redis) -> None:
        self._database = database
        self._redis = redis
        self._announce: Script = redis.register_script(ANNOUNCE)
        self._present: Script = redis.register_script(PRESENT)

    def announce(self) -> None:
        """A worker of this installation is there."""
        if name := self._own_name():
            self._announce(keys=[KEY], args=[name, TTL])

    def withdraw(self) -> None:
        """A worker of this installation stops; another says soon that it is still there."""
        if name := self._own_name():
            self._redis.zrem(KEY, name)

    def are_several(self) -> bool:
        """Whether more than one uses it."""
        return len(self._all()) > 1

    def is_anothers(self) -> bool:
        """Whether one that is not this one uses it."""
        name = self._own_name()
        return name is not None and any(each != name for each in self._all())

    def _all(self) -> list[str]:
        return cast("list[str]", self._present(keys=[KEY], args=[]))

    def _own_name(self) -> str | None:
        identity = self._database.identity()
        return sha256(identity.encode()).hexdigest()[:32] if identity else None
