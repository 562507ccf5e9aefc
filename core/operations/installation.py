"""Whose Redis it is: two installations that share one by mistake take each other's messages, turns and words.

A database has its installation's id (core/stores/installation_id.py), also where it has been restored, moved or
renamed. Workers say now and then that theirs is there; and Redis keeps the id of the first that has used it, for what
another one has there looks as if nothing held it, also while that one is stopped.
"""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, cast
from uuid import UUID

if TYPE_CHECKING:  # `up` wants a key's name alone
    from core.stores.redis import Redis, Script

ANNOUNCE_INTERVAL = 2.0
"""Seconds between two times that a worker says so."""
TTL = 4
"""Seconds that it counts."""
PRESENT_KEY = "sb:{installations}"
"""A sorted set: by installation the moment until which it counts, by Redis's clock."""
OWNER_KEY = "sb:installation"
"""A string without an end."""

ANNOUNCE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 1)
redis.call('EXPIRE', KEYS[1], ARGV[2] * 2)
redis.call('SET', KEYS[2], ARGV[1], 'NX')
"""
PRESENT = """
local time = redis.call('TIME')
return redis.call('ZRANGEBYSCORE', KEYS[1], time[1] + time[2] / 1000000, '+inf')
"""


class Installations:
    """Those that use this Redis. All methods raise Unavailable."""

    def __init__(self, find_id: Callable[[], UUID], redis: "Redis") -> None:
        """`find_id` is asked once, for the id of this one."""
        self._find_id = find_id
        self._redis = redis
        self._announce: Script = redis.register_script(ANNOUNCE)
        self._present: Script = redis.register_script(PRESENT)

    def announce(self) -> None:
        """A worker of this installation is there. A Redis that is nobody's becomes its."""
        self._announce(keys=[PRESENT_KEY, OWNER_KEY], args=[self._own, TTL])

    def withdraw(self) -> None:
        """A worker of this installation stops; another says soon that it is still there."""
        self._redis.zrem(PRESENT_KEY, self._own)

    def are_several(self) -> bool:
        """Whether workers of more than one are there."""
        return len(self._all()) > 1

    def is_anothers(self) -> bool:
        """Whether workers are there of one that is not this one."""
        return any(each != self._own for each in self._all())

    def owns(self) -> bool:
        """Whether what is in Redis is this installation's. A Redis that is nobody's becomes so."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(OWNER_KEY, self._own, nx=True)
            pipe.get(OWNER_KEY)
            _, owner = pipe.execute()
        return bool(owner == self._own)

    def holds_anothers(self) -> bool:
        """Whether what is in Redis is another installation's. Changes nothing."""
        owner = self._redis.get(OWNER_KEY)
        return owner is not None and owner != self._own

    def _all(self) -> list[str]:
        return cast("list[str]", self._present(keys=[PRESENT_KEY], args=[]))

    @cached_property
    def _own(self) -> str:
        return str(self._find_id())
