"""The words of a conversation. Those of anonymous sessions live in Redis only, as long as the session."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal
from uuid import UUID

from redis import Redis

from core.event_log import Position, keys

MessageState = Literal["complete", "streaming", "failed"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation, as it is stored and as the wire has it."""

    id: str
    role: Literal["user", "assistant"]
    text: str
    model: str | None
    """Who answered; None for a person's message."""
    state: MessageState
    created_at: str

    def dump(self) -> str:
        """The stored form."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def load(cls, stored: str) -> "Message":
        """The reverse of `dump`."""
        return cls(**json.loads(stored))


@dataclass(frozen=True)
class Conversation:
    """All messages, with the answer being written, and the place in the log that they reflect."""

    messages: Sequence[Message]
    cursor: Position | None
    """Events after this one are not in the messages yet. None: nothing has happened."""


class Transcript:
    """Reads conversations. They are written by the log's append, in one step with the event that tells of it."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def read(self, session_id: UUID) -> Conversation:
        """The conversation at one moment, so that going on from its cursor repeats and misses nothing."""
        _, meta, partial, words = keys(session_id)
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.lrange(words, 0, -1)
            pipe.hmget(meta, ["epoch", "offset", "answer"])
            pipe.get(partial)
            stored, (epoch, offset, answer), text = pipe.execute()
        messages = [Message.load(word) for word in stored]
        if answer is not None:
            messages.append(replace(Message.load(answer), text=text or ""))
        return Conversation(messages, None if epoch is None else Position(epoch, int(offset)))

    def partial(self, session_id: UUID) -> str:
        """The text of the answer being written, so far."""
        return str(self._redis.get(keys(session_id)[2]) or "")
