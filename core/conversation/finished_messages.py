"""The finished messages of one session, read a few at a time: from Redis for anonymous sessions, else from SQL.

They are a tree: each names the one that it follows, its parent, which is older. A branch is read from its end towards
the beginning; where a parent is missing, or is not older, the branch ends. Of a conversation of any length, no more
than CHUNK_SIZE messages, or more that are short, are in memory on the way to a reader, and no connection is held
while the reader takes them. One that is damaged is passed over (core/conversation/damage.py).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeAlias, cast
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    Text,
    Uuid,
    and_,
    bindparam,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.orm import Session as DatabaseSession
from sqlalchemy.orm import aliased, defer

from core.conversation.branch_scripts import BRANCH, EDGES, PARENT
from core.conversation.damage import Damaged, pass_over
from core.conversation.keys import keys
from core.conversation.message import PREVIOUS, Message
from core.stores import tables
from core.stores.database import Database
from core.stores.redis import Redis, RedisDamaged

CHUNK_SIZE = 10
"""Messages read at once in the order of time. One may have a million characters."""
NEWEST_MESSAGES = 50
NEWEST_CHARACTERS = 65_536
"""Messages of a branch, and characters of what they say (in Redis bytes of what is stored), that are read at once,
with the one that passes them: what most prompts and pages take."""
EDGE_CHUNK_SIZE = 200
"""Messages whose ids alone are read at once in Redis, which copies them for it."""
MAX_SEARCHED = 200
"""How many of the newest are looked through in Redis for one without a known place."""
MAX_SIBLINGS = 100
"""Messages that may follow the same one: readers are told of all of them with each."""


NOW = -1
"""In place of the number of an anonymous session's messages: as many as there are."""


class UnknownMessage(Exception):
    """The session has no such finished message."""


class Leaf(NamedTuple):
    """The end of the branch that the holder of a session has turned to."""

    id: UUID
    since: UUID
    """The newest message at that time: what is newer ends the current branch in its place."""


class FinishedMessages(Protocol):
    """The finished messages of one session, as they were at one moment."""

    def branch(self, end: UUID | None = None) -> Iterator[Message]:
        """The branch that ends with this message, or the current one: its messages, newest first."""
        ...

    def before(self, message_id: UUID) -> Iterator[Message]:
        """The messages that come before this one, newest first. Raises UnknownMessage."""
        ...

    def oldest_first(self) -> Iterator[Message]:
        """All of them, in the order of time."""
        ...

    def with_siblings(self, messages: Sequence[Message]) -> list[Message]:
        """These messages, with their siblings."""
        ...


class RedisMessages:
    """An anonymous session's: a list that only ever grows at its end."""

    def __init__(self, redis: Redis, session_id: UUID, count: int = NOW, leaf: Leaf | None = None) -> None:
        """The first `count` messages; those that have been added since belong to a later moment. With NOW, each
        look is a moment of its own."""
        self._redis = redis
        self._session_id = session_id
        self._meta, self._key = keys(session_id).meta, keys(session_id).words
        self._count = count
        self._leaf = leaf

    def branch(self, end: UUID | None = None) -> Iterator[Message]:
        """The branch that ends with this message, or the current one: its messages, newest first."""
        return self._walk("" if end is None else str(end))

    def before(self, message_id: UUID) -> Iterator[Message]:
        """The messages that come before this one, newest first. Raises UnknownMessage."""
        _, place, _ = self.place(message_id)
        return self._walk(place) if place >= 0 else iter(())

    def message(self, message_id: UUID | None) -> Message | None:
        """This message, or the end of the current branch; None where there is none."""
        try:
            _, *found = self._eval(BRANCH, self._count, str(message_id or ""), *self._turned_to, 1, 1, MAX_SEARCHED)
        except RedisDamaged:
            return None
        return next((replace(each, parent=found[1] or None) for each in load(self._session_id, found[:1])), None)

    def count_children(self, message_id: UUID | None) -> int:
        """How many messages follow this one, or stand at the beginning."""
        try:
            ids = cast("str | None", self._redis.hget(self._meta, f"children:{message_id or ''}"))
        except RedisDamaged:
            return 0
        return len(ids.split(" ")) if ids else 0

    def newest_below(self, message_id: UUID) -> tuple[UUID, UUID]:
        """The newest message below this one, or itself, which ends a branch; and the newest of all. Raises
        UnknownMessage."""
        place, *_ = self.place(message_id)
        below, newest, last = {str(message_id)}, str(message_id), str(message_id)
        for last, parent in self.edges(place + 1):
            if parent in below:
                below.add(last)
                newest = last
        return UUID(newest), UUID(last)

    def place(self, message_id: UUID) -> tuple[int, int, str]:
        """The place of a message, that of its parent, or -1, and its parent's id, empty at the beginning. Raises
        UnknownMessage."""
        try:
            found = self._eval(PARENT, self._count, str(message_id), MAX_SEARCHED)
        except RedisDamaged:
            found = ()
        if not found:
            raise UnknownMessage
        return int(found[0]), int(found[1]), str(found[2])

    def edges(self, start: int) -> Iterator[tuple[str, str]]:
        """The ids of the messages from this place on, each with what it follows, or an empty one at the beginning."""
        for at in range(start, self._count, EDGE_CHUNK_SIZE):
            try:
                edges = self._eval(EDGES, at, min(at + EDGE_CHUNK_SIZE, self._count))
            except RedisDamaged:
                return
            yield from zip(edges[::2], edges[1::2], strict=True)

    def oldest_first(self) -> Iterator[Message]:
        """All of them, in the order of time."""
        previous: str | None = None
        for start in range(0, self._count, CHUNK_SIZE):
            for message in load(self._session_id, self._read(start, min(start + CHUNK_SIZE, self._count))):
                yield replace(message, parent=previous) if message.parent == PREVIOUS else message
                previous = message.id

    def with_siblings(self, messages: Sequence[Message]) -> list[Message]:
        """These messages, with their siblings."""
        if not messages:
            return []
        try:
            children = self._redis.hmget(self._meta, [f"children:{message.parent or ''}" for message in messages])
        except RedisDamaged:
            children = [None] * len(messages)
        beside = [str(each or "").split(" ")[:MAX_SIBLINGS] for each in children]
        return [
            replace(message, siblings=ids if message.id in ids else [message.id])
            for message, ids in zip(messages, beside, strict=True)
        ]

    def _walk(self, start: str | int) -> Iterator[Message]:
        while start != -1:
            limits = (NEWEST_MESSAGES, NEWEST_CHARACTERS, MAX_SEARCHED)
            try:
                start, *found = self._eval(BRANCH, self._count, start, *self._turned_to, *limits)
            except RedisDamaged:
                return  # since the list was counted
            for word, parent in zip(found[::2], found[1::2], strict=True):
                for message in load(self._session_id, [word]):
                    yield replace(message, parent=parent or None)

    @property
    def _turned_to(self) -> tuple[str, str]:
        return (str(self._leaf.id), str(self._leaf.since)) if self._leaf else ("", "")

    def _eval(self, script: str, *arguments: str | int) -> Sequence[Any]:
        return cast("list[Any]", self._redis.eval(script, 2, self._key, self._meta, *arguments))

    def _read(self, start: int, end: int) -> Sequence[str]:
        try:
            return cast("list[str]", self._redis.lrange(self._key, start, end - 1))
        except RedisDamaged:
            return []  # since the list was counted


class Newest(NamedTuple):
    """The newest of a branch of an owned session's messages, newest first."""

    rows: "Sequence[StoredRow]"
    before: UUID | None
    """The message with which the rest of the branch ends. None: there is no more."""


def read_newest(db_session: DatabaseSession, session_id: UUID, end: UUID) -> Newest:
    """Of the branch that ends with this message, what most prompts take, in one statement: at most NEWEST_MESSAGES,
    and none beyond NEWEST_CHARACTERS but the one that passes them."""
    return _newest(db_session.execute(_FROM_MESSAGE, {"session": session_id, "start": end}).all())


def _newest(rows: Sequence[Any]) -> Newest:
    found = [StoredRow(*row) for row in rows]
    before = None if not found or found[-1].follows == found[-1].message.session_id else found[-1].follows
    return Newest(found, before)


class SqlMessages:
    """An owned session's: rows."""

    def __init__(
        self, database: Database, session_id: UUID, unfinished: UUID | None, newest: Newest | None = None
    ) -> None:
        """All messages but the `unfinished` answer, of which there may be a snapshot or, by now, all. `newest` are
        those of the branch that is wanted which have been read already."""
        self._database = database
        self._session_id = session_id
        self._unfinished = unfinished
        self._newest = newest

    def branch(self, end: UUID | None = None) -> Iterator[Message]:
        """The branch that ends with this message, or the current one: its messages, newest first."""
        newest = self._newest
        if newest is None:
            newest = self._read_leaf() if end is None else self._read_branch(end)
        yield from self._load(newest.rows)
        while newest.before is not None:
            last, newest = newest.rows[-1].message, self._read_branch(newest.before)
            if not newest.rows or _place_of(newest.rows[0].message) >= _place_of(last):
                return
            yield from self._load(newest.rows)

    def before(self, message_id: UUID) -> Iterator[Message]:
        """The messages that come before this one, newest first. Raises UnknownMessage."""
        with self._database.reading() as db:
            follows = db.scalar(FOLLOWED_BY, {"session": self._session_id, "message": message_id})
        if follows is None:
            raise UnknownMessage
        return iter(()) if follows == self._session_id else self.branch(follows)

    def oldest_first(self) -> Iterator[Message]:
        """All of them, in the order of time."""
        place: Place | None = None
        with self._database.reading() as db:
            newest = db.execute(_LAST_PLACE, self._own()).one_or_none()
        while newest and (rows := self._read(after=place, until=(newest[0], newest[1]))):
            yield from self._load(rows)
            place = _place_of(rows[-1].message)

    def with_siblings(self, messages: Sequence[Message]) -> list[Message]:
        """These messages, with their siblings."""
        parents = {UUID(message.parent) if message.parent else self._session_id for message in messages}
        with self._database.reading() as db:
            found = db.execute(_BESIDE, {"session": self._session_id, "parents": parents}).all()
        beside: dict[str | None, list[str]] = {}
        for message_id, follows in found:
            ids = beside.setdefault(None if follows == self._session_id else str(follows), [])
            if len(ids) < MAX_SIBLINGS:
                ids.append(str(message_id))
        return [_with_siblings(message, beside.get(message.parent, [])) for message in messages]

    def message(self, message_id: UUID | None) -> Message | None:
        """This message, or the end of the current branch; None where there is none."""
        named = select_leaf(_SESSION, _SESSION) if message_id is None else bindparam("message", type_=Uuid())
        row = tables.Message
        query = _stored(row, _follows(row)).where(row.session_id == _SESSION, row.id == named)
        with self._database.reading() as db:
            found = db.execute(query, {"session": self._session_id, "message": message_id}).all()
        return next(self._load(StoredRow(*each) for each in found), None)

    def count_children(self, message_id: UUID | None) -> int:
        """How many messages follow this one, or stand at the beginning."""
        row = tables.Message
        children = select(func.count()).where(
            row.session_id == self._session_id, row.parent_id == (message_id or self._session_id)
        )
        with self._database.reading() as db:
            return db.scalar(children) or 0

    def _own(self) -> Mapping[str, UUID]:
        # The session's id is no message's: then none is left out.
        return {"session": self._session_id, "unfinished": self._unfinished or self._session_id}

    def _read_leaf(self) -> Newest:
        with self._database.reading() as db:
            return _newest(db.execute(_FROM_LEAF, self._own()).all())

    def _read_branch(self, end: UUID) -> Newest:
        with self._database.reading() as db:
            return read_newest(db, self._session_id, end)

    def _load(self, rows: "Iterable[StoredRow]") -> Iterator[Message]:
        for row, problem, follows in rows:
            try:
                yield Message.from_row(row, problem, follows)
            except Damaged as kind:
                pass_over(self._session_id, f"message {row.id}", kind)

    def _read(self, *, after: "Place | None", until: "Place") -> "Sequence[StoredRow]":
        """The next few, oldest first."""
        row = tables.Message
        query = _stored(row, _follows(row)).where(row.session_id == self._session_id, _place(row) <= tuple_(*until))
        if self._unfinished is not None:
            query = query.where(row.id != self._unfinished)
        if after is not None:
            query = query.where(_place(row) > tuple_(*after))
        with self._database.reading() as db:
            found = db.execute(query.order_by(row.created_at, row.id).limit(CHUNK_SIZE))
            return [StoredRow(*each) for each in found]


class StoredRow(NamedTuple):
    """A row that has been read."""

    message: tables.Message
    problem: str | None
    """The text of its `problem`: decoded with the row, one that can't be would take all rows of the chunk with it."""
    follows: UUID
    """Its parent, or its session's id."""


def load(session_id: UUID, stored: Iterable[str]) -> Iterator[Message]:
    """Those of a session's stored messages that can be read."""
    for each in stored:
        try:
            yield Message.load(each)
        except Damaged as kind:
            pass_over(session_id, "a message", kind)


def _with_siblings(message: Message, ids: Sequence[str]) -> Message:
    return replace(message, siblings=ids if message.id in ids else [message.id])


Place = tuple[datetime, UUID]
"""Of a message in its session's order of time."""
Row: TypeAlias = type[tables.Message]
"""The table, or an alias of it."""


def _place_of(message: tables.Message) -> "Place":
    return message.created_at, message.id


def _place(row: Row) -> Any:
    return tuple_(row.created_at, row.id)


def _follows(row: Row) -> ColumnElement[UUID]:
    """What a message follows: its parent, or its session's id."""
    older = aliased(tables.Message)
    previous = (
        select(older.id)
        .where(older.session_id == row.session_id, _place(older) < _place(row))
        .order_by(older.created_at.desc(), older.id.desc())
        .limit(1)
        .correlate(row)
    )
    return func.coalesce(row.parent_id, previous.scalar_subquery(), row.session_id, type_=Uuid())


def _stored(row: Row, follows: ColumnElement[UUID]) -> Select[tables.Message, str, UUID]:
    return select(row, sql_cast(row.problem, Text), follows).options(defer(row.problem, raiseload=True))


def _select_branch(start: ColumnElement[Any]) -> Select[tables.Message, str, UUID]:
    """A branch from its end on, as far as it is read at once."""
    end, older, row = aliased(tables.Message), aliased(tables.Message), tables.Message
    session = bindparam("session", type_=Uuid())
    branch: Any = (
        select(
            end.id, _follows(end).label("follows"), end.created_at, literal(1).label("nth"), _size(end).label("size")
        )
        .where(end.session_id == session, end.id == start)
        .cte("branch", recursive=True)
    )
    branch = branch.union_all(
        select(older.id, _follows(older), older.created_at, branch.c.nth + 1, branch.c.size + _size(older))
        .join_from(branch, older, older.id == branch.c.follows)
        .where(
            older.session_id == session,
            # A parent is older than its child; so whatever the rows say, no branch is a circle.
            _place(older) < tuple_(branch.c.created_at, branch.c.id),
            branch.c.nth < NEWEST_MESSAGES,
            branch.c.size < NEWEST_CHARACTERS,
        )
    )
    return _stored(row, branch.c.follows).join_from(row, branch, branch.c.id == row.id).order_by(branch.c.nth)


def _size(row: Row) -> ColumnElement[int]:
    lengths = [func.coalesce(func.length(column), 0) for column in (row.text, row.html, row.thinking)]
    return lengths[0] + lengths[1] + lengths[2]


def _newest_id(session: ColumnElement[Any], unfinished: ColumnElement[Any]) -> ScalarSelect[Any]:
    row = aliased(tables.Message)
    newest = select(row.id).where(row.session_id == session, row.id != unfinished)
    return newest.order_by(row.created_at.desc(), row.id.desc()).limit(1).scalar_subquery()


def select_leaf(session: ColumnElement[Any], unfinished: ColumnElement[Any]) -> ColumnElement[Any]:
    """The id of the message with which the current branch ends, leaving out one that is not finished."""
    chosen = aliased(tables.Message)
    since = (
        select(chosen.id)
        .join(tables.Session, and_(tables.Session.id == chosen.session_id, tables.Session.leaf_id == chosen.id))
        .where(tables.Session.id == session, tables.Session.leaf_since == _newest_id(session, unfinished))
    )
    return func.coalesce(since.scalar_subquery(), _newest_id(session, unfinished), type_=Uuid())


def select_leaf_and_newest(session: ColumnElement[Any]) -> tuple[ColumnElement[Any], ...]:
    """The id of the message with which the current branch ends, and the id and the time of the newest."""
    row = aliased(tables.Message)
    newest = select(row.created_at).where(row.session_id == session)
    newest = newest.order_by(row.created_at.desc(), row.id.desc()).limit(1)
    return select_leaf(session, session), _newest_id(session, session), newest.scalar_subquery()


_SESSION, _UNFINISHED = bindparam("session", type_=Uuid()), bindparam("unfinished", type_=Uuid())
_FROM_MESSAGE = _select_branch(bindparam("start", type_=Uuid()))
_FROM_LEAF = _select_branch(select_leaf(_SESSION, _UNFINISHED))
FOLLOWED_BY = select(_follows(tables.Message)).where(
    tables.Message.id == bindparam("message"), tables.Message.session_id == _SESSION
)
"""What a message follows; its session's id at the beginning, and nothing where there is no such message."""
_LAST_PLACE = (
    select(tables.Message.created_at, tables.Message.id)
    .where(tables.Message.session_id == _SESSION, tables.Message.id != _UNFINISHED)
    .order_by(tables.Message.created_at.desc(), tables.Message.id.desc())
    .limit(1)
)


def _select_beside() -> Select[UUID, UUID]:
    row = tables.Message
    # Rows without a parent, of which there are few, may follow one of these too.
    among = or_(row.parent_id.in_(bindparam("parents", expanding=True)), row.parent_id.is_(None))
    beside = select(row.id, _follows(row)).where(row.session_id == _SESSION, among)
    return beside.order_by(row.created_at, row.id)


_BESIDE = _select_beside()


def name_parents(db_session: DatabaseSession, session_id: UUID) -> None:
    """Give those messages of a session their parents that processes of the version before have written."""
    row = tables.Message
    unnamed = update(row).where(row.session_id == session_id, row.parent_id.is_(None)).values(parent_id=_follows(row))
    db_session.execute(unnamed, execution_options={"synchronize_session": False})


def newest_below(db_session: DatabaseSession, session_id: UUID, message_id: UUID) -> Leaf:
    """The newest message below this one, or itself, which ends a branch; and the newest of all. All have their
    parents. Raises UnknownMessage."""
    leaf = db_session.scalar(_NEWEST_BELOW, {"session": session_id, "message": message_id})
    if leaf is None:
        raise UnknownMessage
    newest = db_session.scalar(select(_newest_id(_SESSION, _SESSION)), {"session": session_id})
    assert newest is not None
    return Leaf(leaf, newest)


def _select_newest_below() -> Select[Any]:
    first, younger = aliased(tables.Message), aliased(tables.Message)
    below: Any = (
        select(first.id, first.created_at)
        .where(first.session_id == _SESSION, first.id == bindparam("message", type_=Uuid()))
        .cte("below", recursive=True)
    )
    below = below.union_all(
        select(younger.id, younger.created_at)
        .join_from(below, younger, younger.parent_id == below.c.id)
        .where(younger.session_id == _SESSION, _place(younger) > tuple_(below.c.created_at, below.c.id))
    )
    # No message is younger than the newest, so none follows it.
    return select(below.c.id).order_by(below.c.created_at.desc(), below.c.id.desc()).limit(1)


_NEWEST_BELOW = _select_newest_below()
