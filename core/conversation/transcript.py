"""The words of a conversation: in SQL for owned sessions; in Redis only, as long as the session, for others.

They are a tree. What is read is a branch of it, as a rule the current one: that of the answer that is being written;
else the one that the session's holder has turned to, unless something newer has been said since; else that of the
newest message.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session as DatabaseSession

from core.conversation.damage import MAX_LENGTH, Damaged, number, pass_over, unless_damaged
from core.conversation.finished_messages import (
    FinishedMessages,
    Leaf,
    Newest,
    RedisMessages,
    SqlMessages,
    name_parents,
    newest_below,
)
from core.conversation.guest_settings import add_reading, loaded
from core.conversation.keys import keys
from core.conversation.message import PREVIOUS, Message, whole_seconds
from core.conversation.partial_answer import PartialAnswer
from core.conversation.position import Position
from core.conversation.session_settings import SessionSettings
from core.stores import tables
from core.stores.database import Database
from core.stores.redis import Redis

LEAF = ("leaf", "leaf_since")
"""The fields of an anonymous session's hash that are the columns `leaf_id` and `leaf_since` of an owned session."""
PAGE_SIZE = 50
"""Messages in a page, unless a reader asks for another number."""
PAGE_BYTES = 1_000_000
"""Bytes of JSON in a page, about (core/conversation/message.py says how they are counted): it ends early rather
than be longer, but has at least one message, and one may have a million characters."""


@dataclass(frozen=True)
class Conversation:
    """A page of a branch, oldest first, and the place in the log that it reflects. The newest page ends with the
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
        """The newest page of the current branch or, with `before`, the page that ends before that message, on
        whichever branch it is; at one moment, so that going on from its cursor repeats and misses nothing. Raises
        UnknownMessage."""
        moment = self._moment(session)
        page, more = newest_that_fit(_newest_first(moment, before), limit)
        return Conversation(moment.finished.with_siblings(page), moment.cursor, page[0].id if more else None)

    def newest_first(self, session: tables.Session) -> Iterator[Message]:
        """The messages of the current branch, read as they are taken."""
        return _newest_first(self._moment(session), None)

    def before_answer(
        self, session: tables.Session, question_id: UUID | None, answer_id: UUID, newest: Newest | None = None
    ) -> Asked:
        """The branch that ends with the question of an answer that is being written, or, where that is not known, the
        current one; and the session's settings. `newest`: what has been read of an owned session's branch already."""
        if not session.words_in_redis:
            messages = SqlMessages(self._database, session.id, answer_id, newest).branch(question_id)
            return Asked(messages, SessionSettings.of(session))
        moment = self._moment(session)
        return Asked(moment.finished.branch(question_id), moment.settings)

    def oldest_first(self, session: tables.Session) -> Iterator[Message]:
        """All messages of all branches as they are at this call, in the order of time, read as they are taken."""
        moment = self._moment(session)
        if moment.unfinished is None:
            return moment.finished.oldest_first()
        unfinished = moment.unfinished  # it may go on with one that was finished
        finished = (message for message in moment.finished.oldest_first() if message.id != unfinished.id)
        return chain(finished, [unfinished])

    def keep(
        self, message: "Message", session_id: UUID, db_session: DatabaseSession, *, in_place: bool = False
    ) -> None:
        """Keep a message of an owned session, in the caller's transaction; a later state of it replaces an earlier.
        `in_place`: it stays where it is in the order of time, for others may be newer.

        Those of anonymous sessions go into the log's append, in one step with the event that tells of them.
        """
        row = {
            "id": UUID(message.id),
            "session_id": session_id,
            "parent_id": _parent_id(message, session_id),
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
            "fallback": None if message.fallback is None else json.dumps(message.fallback),
            "created_at": datetime.fromisoformat(message.created_at),
        }
        db_session.execute(_KEEP[db_session.get_bind().dialect.name, in_place], row)

    def has(self, message_id: UUID, session_id: UUID, db_session: DatabaseSession) -> bool:
        """Whether an owned session has this message, in the caller's transaction."""
        row = tables.Message
        there = select(row.id).where(row.id == message_id, row.session_id == session_id)
        return db_session.scalar(there) is not None

    def retract(self, message_id: UUID, session_id: UUID, db_session: DatabaseSession) -> bool:
        """Delete an owned session's newest message, in the caller's transaction; whether it was there and the only
        one. The current branch is then what it was before it."""
        taken = delete(tables.Message).where(tables.Message.id == message_id).returning(tables.Message.id)
        if db_session.scalar(taken) is None:
            return False
        left = select(tables.Message.id).where(tables.Message.session_id == session_id).limit(1)
        return db_session.scalar(left) is None

    def anonymous_messages(self, session_id: UUID) -> tuple[list["Message"], Leaf | None]:
        """The finished messages of an anonymous session, in their order, and the end of the branch that its holder
        has turned to."""
        count, leaf = self._counted(session_id)
        return list(RedisMessages(self._redis, session_id, count, leaf).oldest_first()), leaf

    def message(self, session: tables.Session, message_id: UUID | None) -> Message | None:
        """This finished message of a session, or the end of its current branch; None where there is none."""
        if session.anonymous:
            return RedisMessages(self._redis, session.id).message(message_id)
        return SqlMessages(self._database, session.id, None).message(message_id)

    def count_children(self, session: tables.Session, message_id: UUID | None) -> int:
        """How many messages follow this one, or stand at the beginning."""
        if session.anonymous:
            return RedisMessages(self._redis, session.id).count_children(message_id)
        return SqlMessages(self._database, session.id, None).count_children(message_id)

    def anonymous_newest_below(self, session_id: UUID, message_id: UUID) -> Leaf:
        """Of an anonymous session, the end of the branch through this message that was used last, and the newest
        message of all. Raises UnknownMessage."""
        count, _ = self._counted(session_id)
        return Leaf(*RedisMessages(self._redis, session_id, count).newest_below(message_id))

    def newest_below(self, session_id: UUID, message_id: UUID, db_session: DatabaseSession) -> Leaf:
        """Of an owned session, the same, in the caller's transaction. Raises UnknownMessage."""
        name_parents(db_session, session_id)
        return newest_below(db_session, session_id, message_id)

    def _moment(self, session: tables.Session) -> _Moment:
        at = keys(session.id)
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.llen(at.words)
            pipe.hmget(at.meta, ["epoch", "offset", "answer", "thought_for", *LEAF])
            pipe.mget(at.partial, at.thinking)
            add_reading(pipe, session.id)
            counted, known, texts, settings = pipe.execute_each()
        count = unless_damaged(counted, 0, session.id, "words")
        *known, leaf, since = unless_damaged(known, (None,) * 6, session.id, "meta")
        unfinished, cursor = _live(session.id, known, texts)
        if session.words_in_redis:
            messages = RedisMessages(self._redis, session.id, count, _leaf(session.id, leaf, since))
            return _Moment(unfinished, cursor, messages, loaded(session.id, settings))
        # Redis first: what SQL has beyond the cursor then comes as events. An answer that ends in between is in
        # both; the unfinished one goes with the cursor. Finished words in Redis are those of a claimed session's
        # time without an owner: SQL has them too.
        passed_over = None if unfinished is None else UUID(unfinished.id)
        finished = SqlMessages(self._database, session.id, passed_over)
        return _Moment(unfinished, cursor, finished, SessionSettings.of(session))

    def _counted(self, session_id: UUID) -> tuple[int, Leaf | None]:
        at = keys(session_id)
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.llen(at.words)
            pipe.hmget(at.meta, LEAF)
            counted, chosen = pipe.execute_each()
        count = unless_damaged(counted, 0, session_id, "words")
        return count, _leaf(session_id, *unless_damaged(chosen, (None, None), session_id, "meta"))

    def written(self, session_id: UUID, generation_id: UUID, message_id: UUID | None = None) -> PartialAnswer:
        """What a generation has written so far of its message, by default the one of its own id; from its snapshot,
        if it has one, when Redis has lost it."""
        written = self._written(session_id, generation_id)
        return self.snapshot(message_id or generation_id) if written is None else written

    def begun(self, session_id: UUID, generation_id: UUID) -> PartialAnswer:
        """What the log has of a generation's answer: nothing where the generation is not the latest there."""
        return self._written(session_id, generation_id) or PartialAnswer()

    def _written(self, session_id: UUID, generation_id: UUID) -> PartialAnswer | None:
        at = keys(session_id)
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hmget(at.meta, ["generation", "thought_for"])
            pipe.mget(at.partial, at.thinking)
            known, texts = pipe.execute_each()
        current, thought_for = unless_damaged(known, (None, None), session_id, "meta")
        if current != str(generation_id):
            return None
        try:
            return _written(texts, thought_for)
        except Damaged as kind:
            pass_over(session_id, "the answer being written", kind)
            return None

    def snapshot(self, message_id: UUID) -> PartialAnswer:
        """What SQL has of an answer: of an owned session's, what it was a moment ago."""
        row = tables.Message
        kept = select(row.text, row.thinking, row.thinking_seconds).where(row.id == message_id)
        with self._database.reading() as db:
            message = db.execute(kept).one_or_none()
        if message is None:
            return PartialAnswer()
        return PartialAnswer(message.text, message.thinking or "", 1000 * (message.thinking_seconds or 0))


def _keep(dialect: Any, *, in_place: bool) -> postgresql.Insert | sqlite.Insert:
    """The statement that inserts a message, or replaces the one of its id."""
    table = tables.Message.__table__
    keep: postgresql.Insert | sqlite.Insert = dialect.insert(table)
    lasting = {"id", "created_at"} if in_place else {"id"}
    replaced: dict[str, ColumnElement[Any]] = {
        column.name: column for column in keep.excluded if column.name not in lasting
    }
    replaced["parent_id"] = func.coalesce(keep.excluded.parent_id, table.c.parent_id)
    return keep.on_conflict_do_update(index_elements=["id"], set_=replaced)


_KEEP = {
    (dialect.__name__.rpartition(".")[2], in_place): _keep(dialect, in_place=in_place)
    for dialect in (sqlite, postgresql)
    for in_place in (False, True)
}


def _live(session_id: UUID, known: Any, texts: Any) -> tuple[Message | None, Position | None]:
    """The unfinished answer, and the log's top, of the fields of its meta. Of a log whose meta is damaged there is
    neither: it is as good as lost. Of an answer that is damaged, only the top."""
    epoch, offset, answer, thought_for = known
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
    finished, unfinished = moment.finished, moment.unfinished
    if before is not None and (unfinished is None or str(before) != unfinished.id):
        return finished.before(before)
    if unfinished is None:
        return finished.branch()
    older = iter(()) if unfinished.parent is None else finished.branch(_end_before(unfinished))
    if before is not None:
        return older
    above = next(older, None)
    if above is None and unfinished.parent:  # its question is in no backup that the database was restored from
        older = finished.branch()
        above = next(older, None)
    if unfinished.parent is not None:
        unfinished = replace(unfinished, parent=above.id if above else None)
    return chain([unfinished], [above] if above else [], older)


def _end_before(unfinished: Message) -> UUID | None:
    """With which message the branch ends that it will be the end of; None: the current one."""
    return UUID(unfinished.parent) if unfinished.parent else None


def _parent_id(message: Message, session_id: UUID) -> UUID | None:
    """As rows have it (core/stores/tables.py)."""
    if message.parent is None:
        return session_id
    return None if message.parent == PREVIOUS else UUID(message.parent)


def _leaf(session_id: UUID, leaf: str | None, since: str | None) -> Leaf | None:
    if leaf is None or since is None:
        return None
    try:
        return Leaf(UUID(leaf), UUID(since))
    except ValueError:
        pass_over(session_id, "leaf", Damaged("no id"))
        return None
