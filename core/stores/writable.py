"""Whether a Redis takes writes: a replica, or one whose memory or disk is full, answers and keeps nothing."""

from core.stores.redis import Redis

ABSENT_KEY = "sb:nothing"
"""A key that never exists."""


def require_writable(redis: Redis) -> None:
    """Set a key if it exists, which it does not: that is refused as any other write is. Raises RedisWritesRefused, or
    another RedisUnavailable."""
    redis.set(ABSENT_KEY, "", xx=True)
