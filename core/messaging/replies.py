"""How a worker answers the request that is waiting for it.

A reply is published after the commit and kept for a while under the task's id, for a request that has
stopped waiting and answered 202. The row in the database is the truth; the reply only wakes.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from core.stores.redis import Redis

REPLY_TTL = 600
"""Seconds that a reply is kept for GET /tasks/<id>."""


@dataclass(frozen=True)
class Reply:
    """What became of a command: a result, or a problem details object, or (pending) neither."""

    task_id: str
    session_id: str
    holder: str
    """The sender of the command, the only one that may read its reply, as `holder_of` writes it."""
    result: dict[str, Any] | None = None
    problem: dict[str, Any] | None = None

    @property
    def state(self) -> str:
        """`pending`, `done` or `failed`."""
        if self.problem is not None:
            return "failed"
        return "pending" if self.result is None else "done"

    def dump(self) -> str:
        """The stored and published form."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> "Reply":
        """The reverse of `dump`. Raises ValueError for what is no reply, or one of another version."""
        reply = _FORM.validate_json(text, strict=True)
        if (problem := reply.problem) is not None and not (
            isinstance(problem.get("status"), int) and isinstance(problem.get("detail"), str)
        ):
            raise ValueError("not a problem")
        return reply


_FORM = TypeAdapter(Reply)


def holder_of(owner_id: UUID | None, secret_hash: bytes | None) -> str:
    """The sender of a command: a user, or the client that knows the secret with this hash."""
    return f"user {owner_id}" if owner_id is not None else f"secret {(secret_hash or b'').hex()}"


class Replies:
    """Sends and keeps replies."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def send(self, reply: Reply, channel: str | None) -> None:
        """Keep the reply and, when a request may be waiting, announce it on its channel."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.set(_key(reply.task_id), reply.dump(), ex=REPLY_TTL)
            if channel:
                pipe.publish(channel, reply.dump())
            pipe.execute()

    def expect(self, reply: Reply) -> None:
        """Note that a task is pending, unless its reply has come already."""
        self._redis.set(_key(reply.task_id), reply.dump(), ex=REPLY_TTL, nx=True)

    def find(self, task_id: str) -> Reply | None:
        """The reply, or the note that it is pending. None for an unknown task, and for what can't be read: one of
        another version, or no reply at all. Raises Unavailable."""
        stored = self._redis.get(_key(task_id))
        try:
            return None if stored is None else Reply.load(str(stored))
        except ValueError:
            return None


def _key(task_id: str) -> str:
    return f"sb:task:{task_id}"
