"""The words of a conversation: in SQL for owned sessions; in Redis only, as long as the session, for others."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session as DatabaseSession

from core.conversation.damage import MAX_LENGTH, Damaged, number, pass_over, unless_damaged
from core.conversation.finished_messages import FinishedMessages, Newest, RedisMessages, SqlMessages, load
from core.conversation.guest_settings import add_reading, loaded
from core.conversation.keys import keys
from core.conversation.message import Message, whole_seconds
from core.conversation.partial_answer import PartialAnswer
from core.conversation.position import Position
from core.conversation.session_settings import SessionSettings
from core.stores import tables
from core.stores.database import Database
from core.stores.redis import Redis, RedisDamaged

PAGE_SIZE = 50
"""Messages in a page, unless a reader asks for another number."""
PAGE_BYTES = 1_000_000
"""Bytes of JSON in a page, about (core/conversation/message.py says how they are counted): it ends early rather
than be longer, but has at least one message, and one may have a million characters."""


@dataclass(frozen=True)
class Conversation:
    """A page of messages, oldest first, and the place in the log that they reflect. The newest page ends with the
    answer that is being written."""

    messages: Sequence[Message]
    cursor: Position | None
    """Events after this one are not in the messages yet. None: nothing has happened."""
    before: str | None = None
    """The message before which the next older page ends. None: there is none."""


class Asked(NamedTuple):
    """What a model is to be asked with."""

    messages: Iterator[Message]
    """Newest first, read as they are taken."""
    settings: SessionSettings


class _Moment(NamedTuple):
    """What of a conversation changes, read in one step."""

    unfinished: Message | None
    cursor: Position | None
    finished: FinishedMessages
    """All messages but the unfinished one, as they were then."""
    settings: SessionSettings
    """As far as the session's row, or Redis, has them."""


def newest_that_fit(messages: Iterable[Message], limit: int, size: int = PAGE_BYTES) -> tuple[list[Message], bool]:
    """Of messages that come newest first, as many as a page of at most `limit` and about `size` bytes has, oldest
    first, and whether there are more. No more than one beyond the page is taken from `messages`."""
    page: list[Message] = []
    for message in messages:
        size -= message.size()
        if page and (size < 0 or len(page) == limit):
            return page[::-1], True
        page.append(message)
    return page[::-1], False


class Transcript:
    """Reads and keeps conversations."""

    def __init__(self, database: Database, redis: Redis) -> None:
        self._database = database
        self._redis = redis

    def read(self, session: tables.Session, before: UUID | None = None, limit: int = PAGE_SIZE) -> Conversation:
        """The newest page of the conversation or, with `before`, the page that ends before that message; at one
        moment, so that going on from its cursor repeats and misses nothing. Raises UnknownMessage."""
        moment = self._moment(session)
        page, more = newest_that_fit(_newest_first(moment, before), limit)
        return Conversation(page, moment.cursor, page[0].id if more else None)

    def newest_first(self, session: tables.Session) -> Iterator[Message]:
        """All messages, read as they are taken."""
        return _newest_first(self._moment(session), None)

    def before_answer(self, session: tables.Session, answer_id: UUID, newest: Newest | None = None) -> Asked:
        """All messages before the answer that is being written, and the session's settings. `newest`: what has been
        read of an owned session's already."""
        if not session.anonymous:
            messages = SqlMessages(self._database, session.id, answer_id, newest).newest_first()
            return Asked(messages, SessionSettings.of(session))
        moment = self._moment(session)
        before = (message for message in _newest_first(moment, None) if message.id != str(answer_id))
        return Asked(before, moment.settings)

    def oldest_first(self, session: tables.Session) -> Iterator[Message]:
        """All messages as they are at this call, read as they are taken."""
        moment = self._moment(session)
        return chain(moment.finished.oldest_first(), [moment.unfinished] if moment.unfinished else [])

    def keep(self, message: "Message", session_id: UUID, db_session: DatabaseSession) -> None:
        """Keep a message of an owned session, in the caller's transaction; a later state of it replaces an earlier.

        Those of anonymous sessions go into the log's append, in one step with the event that tells of them.
        """
        row = {
            "id": UUID(message.id),
            "session_id": session_id,
            "role": message.role,
            "text": message.text,
            "model": message.model,
            "state": message.state,
            "html": message.html,
            "finish_reason": message.finish_reason,
            "thinking": message.thinking,
            "thinking_seconds": message.thinking_seconds,
            "problem": message.problem,
            "handovers": None if message.handovers is None else json.dumps({"handovers": message.handovers}),
            "created_at": datetime.fromisoformat(message.created_at),
        }
        db_session.execute(_KEEP[db_session.get_bind().dialect.name], row)

    def retract(self, message_id: UUID, session_id: UUID, db_session: DatabaseSession) -> bool:
        """Delete an owned session's message, in the caller's transaction; whether it was there and the only one."""
        taken = delete(tables.Message).where(tables.Message.id == message_id).returning(tables.Message.id)
        if db_session.scalar(taken) is None:
            return False
        left = select(tables.Message.id).where(tables.Message.session_id == session_id).limit(1)
        return db_session.scalar(left) is None

    def anonymous_messages(self, session_id: UUID) -> list["Message"]:
        """The finished messages of an anonymous session."""
        try:
            words = self._redis.lrange(keys(session_id).words, 0, -1)
        except RedisDamaged as kind:
            pass_over(session_id, "words", kind)
            return []
        return list(load(session_id, map(str, words)))

    def _moment(self, session: tables.Session) -> _Moment:
        at = keys(session.id)
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.llen(at.words)
            pipe.hmget(at.meta, ["epoch", "offset", "answer", "thought_for"])
            pipe.mget(at.partial, at.thinking)
            add_reading(pipe, session.id)
            counted, known, texts, settings = pipe.execute_each()
        count = unless_damaged(counted, 0, session.id, "words")
        unfinished, cursor = _live(session.id, known, texts)
        if session.anonymous:
            return _Moment(
                unfinished, cursor, RedisMessages(self._redis, session.id, count), loaded(session.id, settings)
            )
        # Redis first: what SQL has beyond the cursor then comes as events. An answer that ends in between is in
        # both; the unfinished one goes with the cursor. Finished words in Redis are those of a claimed session's
        # time without an owner: SQL has them too.
        passed_over = None if unfinished is None else UUID(unfinished.id)
        finished = SqlMessages(self._database, session.id, passed_over)
        return _Moment(unfinished, cursor, finished, SessionSettings.of(session))

    def written(self, session_id: UUID, generation_id: UUID) -> PartialAnswer:
        """What a generation has written so far; from its snapshot, if it has one, when Redis has lost it."""
        at = keys(session_id)
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hmget(at.meta, ["generation", "thought_for"])
            pipe.mget(at.partial, at.thinking)
            known, texts = pipe.execute_each()
        current, thought_for = unless_damaged(known, (None, None), session_id, "meta")
        if current != str(generation_id):
            return self.snapshot(generation_id)
        try:
            return _written(texts, thought_for)
        except Damaged as kind:
            pass_over(session_id, "the answer being written", kind)
            return self.snapshot(generation_id)

    def snapshot(self, generation_id: UUID) -> PartialAnswer:
        """What SQL has of an answer: of an owned session's, what it was a moment ago."""
        row = tables.Message
        kept = select(row.text, row.thinking, row.thinking_seconds).where(row.id == generation_id)
        with self._database.reading() as db:
            message = db.execute(kept).one_or_none()
        if message is None:
            return PartialAnswer()
        return PartialAnswer(message.text, message.thinking or "", 1000 * (message.thinking_seconds or 0))


def _keep(dialect: Any) -> postgresql.Insert | sqlite.Insert:
    """The statement that inserts a message, or replaces the one of its id."""
    keep: postgresql.Insert | sqlite.Insert = dialect.insert(tables.Message.__table__)
    replaced = {column.name: column for column in keep.excluded if column.name != "id"}
    return keep.on_conflict_do_update(index_elements=["id"], set_=replaced)


_KEEP = {"sqlite": _keep(sqlite), "postgresql": _keep(postgresql)}


def _live(session_id: UUID, known: Any, texts: Any) -> tuple[Message | None, Position | None]:
    """The unfinished answer, and the log's top. Of a log whose meta is damaged there is neither: it is as good as
    lost. Of an answer that is damaged, only the top."""
    epoch, offset, answer, thought_for = unless_damaged(known, (None,) * 4, session_id, "meta")
    top, what = None, "meta"
    try:
        top, what = Position.of(epoch, offset), "the answer being written"
        return None if answer is None else _unfinished(answer, _written(texts, thought_for)), top
    except Damaged as kind:
        pass_over(session_id, what, kind)
        return None, top


def _written(texts: Sequence[str | None], thought_for: str | None) -> PartialAnswer:
    """Raises Damaged."""
    text, thinking = (each or "" for each in texts)
    if len(text) + len(thinking) > MAX_LENGTH:
        raise Damaged("too long")
    return PartialAnswer(text, thinking, number(thought_for) or 0)


def _unfinished(answer: str, written: PartialAnswer) -> Message:
    return replace(
        Message.load(answer),
        text=written.text,
        thinking=written.thinking or None,
        thinking_seconds=whole_seconds(written.thinking, written.thinking_ms),
    )


def _newest_first(moment: _Moment, before: UUID | None) -> Iterator[Message]:
    unfinished = moment.unfinished
    if unfinished is not None and str(before) == unfinished.id:
        return moment.finished.newest_first()
    newest = [unfinished] if unfinished is not None and before is None else []
    return chain(newest, moment.finished.newest_first(before))
