"""Announces revoked logins, keys and sessions to the web processes, so that streams opened with them end at once.

Only a wake-up: a process that hears it looks into the database, and each heartbeat of a stream does so in any case. A
message that is lost costs at most that long.
"""

import logging
from uuid import UUID

from core.stores.redis import Redis, RedisUnavailable

logger = logging.getLogger(__name__)

CHANNEL = "sb:revoked"


class Revocations:
    """Announces them."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def announce(self, subject: UUID) -> None:
        """A proof of this user's identity, or of holding this session, has ended; or this login has."""
        try:
            self._redis.publish(CHANNEL, str(subject))
        except RedisUnavailable as error:
            logger.warning("open streams will be checked with their next heartbeat: %s", error.reason)
