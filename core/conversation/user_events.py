"""What changes in a user's sessions, as it is told to that user's event streams.

Published after the commit, to whoever listens just then: nothing is kept. A stream begins, and goes on after whatever
may have been missed, by saying that the list is to be fetched again. No words but the owner's own titles.
"""

import json
import logging
from collections.abc import Collection
from typing import Any, Literal
from uuid import UUID

from core.stores.redis import Pipeline, Redis, RedisUnavailable

logger = logging.getLogger(__name__)

PREFIX = "sb:user:"
Kind = Literal["created", "changed", "model", "answering", "answered", "read", "deleted"]


def user_channel(user_id: UUID) -> str:
    """The pub/sub channel of a user's streams."""
    return f"{PREFIX}{user_id}"


def is_user_channel(name: str) -> bool:
    """Whether this is the name of such a channel."""
    return name.startswith(PREFIX)


class UserEvents:
    """Publishes them."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def publish(self, user_id: UUID | None, kind: Kind, session_id: UUID, **data: Any) -> None:
        """Tell the user, if there is one, of a change in one of their sessions. Without Redis nobody is told: its
        readers have lost their connection too, and fetch the list again."""
        if user_id is None:
            return
        try:
            self._redis.publish(user_channel(user_id), _message(kind, session_id, data))
        except RedisUnavailable as error:
            logger.warning("a change of a session was not told: %s", error.reason)


def add_deleted(pipe: Pipeline, owners: Collection[tuple[UUID, UUID]]) -> None:
    """Add to a pipeline: these sessions, each behind its owner, are gone."""
    for owner_id, session_id in owners:
        pipe.publish(user_channel(owner_id), _message("deleted", session_id, {}))


def _message(kind: Kind, session_id: UUID, data: dict[str, Any]) -> str:
    told = json.dumps({"session_id": str(session_id), **data}, separators=(",", ":"))
    return json.dumps({"type": kind, "data": told})
