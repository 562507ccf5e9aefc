"""Whether a Redis takes writes: one that has been demoted, or whose disk is full, answers and keeps nothing."""

from redis import Redis

ABSENT_KEY = "sb:nothing"
"""A key that never exists."""


def require_writable(redis: Redis) -> None:
    """Delete a key that does not exist. Raises ReadOnlyError, or another RedisError, when no write is taken."""
    redis.delete(ABSENT_KEY)
