"""How a worker answers the request that is waiting for it.

A reply is published after the commit and kept for a while under the task's id, for a request that has
stopped waiting and answered 202. The row in the database is the truth; the reply only wakes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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
    retry_after: int | None = None
    """Seconds after which trying again makes sense, with a problem that may pass. Older processes know it not."""

    @property
    def state(self) -> str:
        """`pending`, `done` or `failed`."""
        if self.problem is not None:
            return "failed"
        return "pending" if self.result is None else "done"

    def dump(self) -> str:
        """The stored and published form. Raises ValueError for a result that can't be sent."""
        return _FORM.dump_json(self).decode()

    @classmethod
    def load(cls, text: str) -> "Reply":
        """The reverse of `dump`. Raises ValueError for what is no reply, or one of another version."""
        return _checked(_FORM.validate_json(text, strict=True))


_FORM = TypeAdapter(Reply)
_ANNOUNCED = TypeAdapter(Reply | list[Reply])


def load_announced(text: str) -> list[Reply]:
    """The replies that were announced together. Raises ValueError as `Reply.load`."""
    announced = _ANNOUNCED.validate_json(text, strict=True)
    return [_checked(reply) for reply in (announced if isinstance(announced, list) else [announced])]


def _checked(reply: Reply) -> Reply:
    if (problem := reply.problem) is not None and not (
        isinstance(problem.get("status"), int) and isinstance(problem.get("detail"), str)
    ):
        raise ValueError("not a problem")
    return reply


def sendable(text: str) -> str:
    """The text with "?" for each half of a character, which JSON can have and UTF-8 can't."""
    return text.encode(errors="replace").decode()


def holder_of(owner_id: UUID | None, secret_hash: bytes | None) -> str:
    """The sender of a command: a user, or the client that knows the secret with this hash."""
    return f"user {owner_id}" if owner_id is not None else f"secret {(secret_hash or b'').hex()}"


class Replies:
    """Sends and keeps replies."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def send(self, replies: Sequence[Reply], channel: str | None) -> None:
        """Keep the replies and, when requests may be waiting, announce them on their channel, all at once."""
        dumped = [reply.dump() for reply in replies]
        with self._redis.pipeline(transaction=False) as pipe:
            if channel:
                # One by itself in the form that older web processes know.
                pipe.publish(channel, dumped[0] if len(dumped) == 1 else f"[{','.join(dumped)}]")
            for reply, text in zip(replies, dumped, strict=True):
                pipe.set(_key(reply.task_id), text, ex=REPLY_TTL)
            pipe.execute()

    def expect(self, reply: Reply) -> None:
        """Note that a task is pending, unless its reply has come already."""
        self._redis.set(_key(reply.task_id), reply.dump(), ex=REPLY_TTL, nx=True)

    def find(self, task_id: str) -> Reply | None:
        """The reply, or the note that it is pending. None for an unknown task, and for what can't be read: one of
        another version, or no reply at all. Raises Unavailable."""
        return self.find_all([task_id])[0]

    def find_all(self, task_ids: Sequence[str]) -> list[Reply | None]:
        """What `find` returns for each."""
        return [_read(stored) for stored in self._redis.mget([_key(task_id) for task_id in task_ids])]


def _read(stored: object) -> Reply | None:
    try:
        return None if stored is None else Reply.load(str(stored))
    except ValueError:
        return None


def _key(task_id: str) -> str:
    return f"sb:task:{task_id}"
