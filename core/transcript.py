"""The words of a conversation: in SQL for owned sessions; in Redis only, as long as the session, for others."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Literal
from uuid import UUID

from redis import Redis
from sqlalchemy import delete, select
from sqlalchemy.orm import Session as DatabaseSession

from core import models
from core.clock import rfc3339
from core.database import Database
from core.event_log import Position, keys

MessageState = Literal["complete", "streaming", "stopped", "failed"]


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

    @classmethod
    def of(cls, row: models.Message) -> "Message":
        """The message in a row."""
        values = (str(row.id), row.role, row.text, row.model, row.state, rfc3339(row.created_at))
        return cls(*values)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Conversation:
    """All messages, with the answer being written, and the place in the log that they reflect."""

    messages: Sequence[Message]
    cursor: Position | None
    """Events after this one are not in the messages yet. None: nothing has happened."""


class Transcript:
    """Reads and keeps conversations."""

    def __init__(self, database: Database, redis: Redis) -> None:
        self._database = database
        self._redis = redis

    def read(self, session: models.Session) -> Conversation:
        """The conversation at one moment, so that going on from its cursor repeats and misses nothing."""
        live = self._read_redis(session.id)
        if session.anonymous:
            return live
        # Redis first: what SQL has beyond the cursor then comes as events. An answer that ends in between is in
        # both; the unfinished one goes with the cursor.
        unfinished = [message for message in live.messages if message.state == "streaming"]
        in_log = {message.id for message in unfinished}
        with self._database.reading() as db:
            rows = db.scalars(
                select(models.Message)
                .where(models.Message.session_id == session.id)
                .order_by(models.Message.created_at, models.Message.id)
            )
            kept = [Message.of(row) for row in rows if str(row.id) not in in_log]
        # Finished words in Redis are those that a claim has not removed yet: SQL has them.
        return Conversation([*kept, *unfinished], live.cursor)

    def keep(self, message: "Message", session_id: UUID, db_session: DatabaseSession) -> None:
        """Keep a message of an owned session, in the caller's transaction; a later state of it replaces an earlier.

        Those of anonymous sessions go into the log's append, in one step with the event that tells of them.
        """
        db_session.merge(
            models.Message(
                id=UUID(message.id),
                session_id=session_id,
                role=message.role,
                text=message.text,
                model=message.model,
                state=message.state,
                created_at=datetime.fromisoformat(message.created_at),
            )
        )

    def take_back(self, message_id: UUID, session_id: UUID, db_session: DatabaseSession) -> bool:
        """Delete an owned session's message, in the caller's transaction; whether it was there and the only one."""
        taken = delete(models.Message).where(models.Message.id == message_id).returning(models.Message.id)
        if db_session.scalar(taken) is None:
            return False
        left = select(models.Message.id).where(models.Message.session_id == session_id).limit(1)
        return db_session.scalar(left) is None

    def anonymous_words(self, session_id: UUID) -> list["Message"]:
        """The finished messages of an anonymous session."""
        return [Message.load(str(word)) for word in self._redis.lrange(keys(session_id)[3], 0, -1)]

    def _read_redis(self, session_id: UUID) -> Conversation:
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

    def written(self, session_id: UUID, generation_id: UUID) -> str:
        """The text that a generation has written so far; from its snapshot, if it has one, when Redis has lost it."""
        _, meta, partial, _ = keys(session_id)
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hget(meta, "generation")
            pipe.get(partial)
            current, text = pipe.execute()
        return text or "" if current == str(generation_id) else self.snapshot(generation_id)

    def snapshot(self, generation_id: UUID) -> str:
        """What SQL has of an answer: of an owned session's, what it was a moment ago."""
        with self._database.reading() as db:
            message = db.get(models.Message, generation_id)
        return "" if message is None else message.text
