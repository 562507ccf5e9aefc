"""Whether a Redis takes writes: one that has been demoted, or whose disk is full, answers and keeps nothing."""

from core.stores.redis import Redis

ABSENT_KEY = "sb:nothing"
"""A key that never exists."""


def require_writable(redis: Redis) -> None:
    """Delete a key that does not exist. Raises RedisReadOnly, or another RedisUnavailable, when no write is taken."""
    redis.delete(ABSENT_KEY)
