"""Requests that bring their own conversation: what they ask, kept in Redis until they are answered."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from core.conversation.damage import Damaged, decode
from core.conversation.keys import keys
from core.errors import GenerationLost
from core.llm.providers.base import NO_SAMPLING, Sampling, Turn
from core.stores.redis import Redis, RedisDamaged
from core.text.characters import storable

LOST = "The request has been lost. Please send it again."


@dataclass(frozen=True)
class AnswerRequest:
    """A conversation, and how its next turn is to be written."""

    turns: tuple[Turn, ...]
    """At least one, in the order in which they were sent."""
    sampling: Sampling = NO_SAMPLING

    def dump(self) -> str:
        """The stored form."""
        stored = {"turns": self.turns, "sampling": self.sampling._asdict()}
        return storable(json.dumps(stored, separators=(",", ":"), ensure_ascii=False))

    @classmethod
    def load(cls, stored: str) -> "AnswerRequest":
        """The reverse of `dump`, without what a later version may have added. Raises Damaged."""
        try:
            fields: dict[str, Any] = decode(stored)
            asked = {name: value for name, value in fields["sampling"].items() if name in Sampling._fields}
            asked["stop"] = tuple(asked["stop"])
            return cls(tuple(Turn(role, text) for role, text in fields["turns"]), Sampling(**asked))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Damaged("no request") from error


class AnswerRequests:
    """All that are being answered."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def keep(self, session_id: UUID, request: AnswerRequest, until: datetime) -> None:
        """Keep a session's request until it is answered, or that moment at the latest. Raises Unavailable."""
        self._redis.set(keys(session_id).request, request.dump(), pxat=int(until.timestamp() * 1000))

    def read(self, session_id: UUID) -> AnswerRequest:
        """A session's request. Raises GenerationLost or Unavailable."""
        try:
            stored = self._redis.get(keys(session_id).request)
            if stored is not None:
                return AnswerRequest.load(str(stored))
        except (RedisDamaged, Damaged):
            pass
        raise GenerationLost(LOST)

    def forget(self, session_id: UUID) -> None:
        """Drop a request that will not be answered. Raises Unavailable."""
        self._redis.delete(keys(session_id).request)
