"""The finished messages of one session, read a few at a time: from Redis for anonymous sessions, else from SQL.

Of a conversation of any length, no more than CHUNK_SIZE messages are in memory on the way to a reader, and no
connection is held while the reader takes them.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol, cast
from uuid import UUID

from sqlalchemy import Select, bindparam, func, select, tuple_
from sqlalchemy.orm import Session as DatabaseSession

from core.conversation.keys import keys
from core.conversation.message import Message
from core.stores import tables
from core.stores.database import Database
from core.stores.redis import Redis

CHUNK_SIZE = 10
"""Messages read at once, at the most. One may have a million characters, so a read that begins at the newest one and
may stop at any begins with one, and doubles."""
NEWEST_MESSAGES = 50
NEWEST_CHARACTERS = 65_536
"""Messages, and characters of their text, that are read before a prompt is known to take them."""
SEARCH_CHUNK_SIZE = 20
"""Messages among which one without a known place is looked for at once in Redis, which copies them all for it."""
MAX_SEARCHED = 200
"""How many of the newest are looked through then."""

IDS = """
local ids = {}
for i, word in ipairs(redis.call('LRANGE', KEYS[1], ARGV[1], ARGV[2])) do
  ids[i] = string.match(word, '^{"id":"([^"]+)"')
end
return ids
"""


class UnknownMessage(Exception):
    """The session has no such finished message."""


class FinishedMessages(Protocol):
    """The finished messages of one session, as they were at one moment."""

    def newest_first(self, before: UUID | None = None) -> Iterator[Message]:
        """All of them or, with `before`, those older than that one. Raises UnknownMessage."""
        ...

    def oldest_first(self) -> Iterator[Message]:
        """All of them."""
        ...


class RedisMessages:
    """An anonymous session's: a list that only ever grows at its end."""

    def __init__(self, redis: Redis, session_id: UUID, count: int) -> None:
        """The first `count` messages; those that have been added since belong to a later moment."""
        self._redis = redis
        self._meta, self._key = keys(session_id).meta, keys(session_id).words
        self._count = count

    def newest_first(self, before: UUID | None = None) -> Iterator[Message]:
        """All of them or, with `before`, those older than that one. Raises UnknownMessage."""
        end = self._count if before is None else self._place(str(before))
        chunk = 1
        while end > 0:
            start = max(0, end - chunk)
            yield from map(Message.load, reversed(self._read(start, end)))
            end, chunk = start, min(2 * chunk, CHUNK_SIZE)

    def oldest_first(self) -> Iterator[Message]:
        """All of them."""
        for start in range(0, self._count, CHUNK_SIZE):
            yield from map(Message.load, self._read(start, min(start + CHUNK_SIZE, self._count)))

    def _read(self, start: int, end: int) -> Sequence[str]:
        return cast("list[str]", self._redis.lrange(self._key, start, end - 1))

    def _place(self, message_id: str) -> int:
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hmget(self._meta, ["placed", f"place:{message_id}"])
            pipe.llen(self._key)
            (placed, place), count = pipe.execute()
        if int(placed or 0) != count:
            return self._search(message_id)
        if place is None or int(place) >= self._count:
            raise UnknownMessage
        return int(place)

    def _search(self, message_id: str) -> int:
        """For words that the log has not put there, or had put before it kept their places."""
        last = max(0, self._count - MAX_SEARCHED)
        for top in range(self._count, last, -SEARCH_CHUNK_SIZE):
            start = max(last, top - SEARCH_CHUNK_SIZE)
            ids = cast("list[str]", self._redis.eval(IDS, 1, self._key, start, top - 1))
            if message_id in ids:
                return start + ids.index(message_id)
        raise UnknownMessage


class Newest(NamedTuple):
    """The newest of an owned session's messages, newest first."""

    rows: Sequence[tables.Message]
    more: bool
    """Whether there are older ones."""


def read_newest(db_session: DatabaseSession, session_id: UUID, unfinished: UUID) -> Newest:
    """What most prompts take, in one statement: at most NEWEST_MESSAGES, and none beyond NEWEST_CHARACTERS but the
    one that passes them. Not the `unfinished` answer."""
    found = db_session.execute(_NEWEST, {"session": session_id, "unfinished": unfinished}).all()
    return Newest([message for message, _ in found], any(count > len(found) for _, count in found))


def _select_newest() -> Select[tables.Message, int]:
    row = tables.Message
    order = (row.created_at.desc(), row.id.desc())
    newer = func.sum(func.length(row.text)).over(order_by=order, rows=(None, -1))
    near = (
        select(row.id, func.coalesce(newer, 0).label("newer"))
        .where(row.session_id == bindparam("session"), row.id != bindparam("unfinished"))
        .order_by(*order)
        .limit(NEWEST_MESSAGES + 1)
        .cte("near")
    )
    return (
        select(row, select(func.count()).select_from(near).scalar_subquery())
        .join(near, near.c.id == row.id)
        .where(near.c.newer < NEWEST_CHARACTERS)
        .order_by(*order)
        .limit(NEWEST_MESSAGES)
    )


_NEWEST = _select_newest()


class SqlMessages:
    """An owned session's: rows, in the order of their time and id."""

    def __init__(
        self, database: Database, session_id: UUID, unfinished: UUID | None, newest: Newest | None = None
    ) -> None:
        """All messages but the `unfinished` answer, of which there may be a snapshot or, by now, all. `newest` are
        those that have been read already."""
        self._database = database
        self._session_id = session_id
        self._unfinished = unfinished
        self._newest = newest

    def newest_first(self, before: UUID | None = None) -> Iterator[Message]:
        """All of them or, with `before`, those older than that one. Raises UnknownMessage."""
        place = None if before is None else self._place(before)
        chunk = 1
        if before is None and self._newest is not None:
            yield from map(Message.from_row, self._newest.rows)
            if not self._newest.more:
                return
            place, chunk = (self._newest.rows[-1].created_at, self._newest.rows[-1].id), CHUNK_SIZE
        while rows := self._read(before=place, limit=chunk):
            yield from map(Message.from_row, rows)
            place, chunk = (rows[-1].created_at, rows[-1].id), min(2 * chunk, CHUNK_SIZE)

    def oldest_first(self) -> Iterator[Message]:
        """All of them."""
        newest = self._read(limit=1)
        place = None
        while newest and (rows := self._read(after=place, until=(newest[0].created_at, newest[0].id))):
            yield from map(Message.from_row, rows)
            place = (rows[-1].created_at, rows[-1].id)

    def _place(self, message_id: UUID) -> "Place":
        with self._database.reading() as db:
            row = db.get(tables.Message, message_id)
        if row is None or row.session_id != self._session_id:
            raise UnknownMessage
        return row.created_at, row.id

    def _read(
        self,
        *,
        before: "Place | None" = None,
        after: "Place | None" = None,
        until: "Place | None" = None,
        limit: int = CHUNK_SIZE,
    ) -> Sequence[tables.Message]:
        """The next few: oldest first with `until`, else newest first."""
        row = tables.Message
        place = tuple_(row.created_at, row.id)
        query = select(row).where(row.session_id == self._session_id)
        if self._unfinished is not None:
            query = query.where(row.id != self._unfinished)
        if before is not None:
            query = query.where(place < tuple_(*before))
        if after is not None:
            query = query.where(place > tuple_(*after))
        if until is not None:
            query = query.where(place <= tuple_(*until)).order_by(row.created_at, row.id)
        else:
            query = query.order_by(row.created_at.desc(), row.id.desc())
        with self._database.reading() as db:
            return db.scalars(query.limit(limit)).all()


Place = tuple[datetime, UUID]
"""Of a message in its session's order."""
