"""The finished messages of one session, read a few at a time: from Redis for anonymous sessions, else from SQL.

Of a conversation of any length, no more than CHUNK_SIZE messages, or more that are short, are in memory on the way to
a reader, and no connection is held while the reader takes them. One that is damaged is passed over
(core/conversation/damage.py).
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol, cast
from uuid import UUID

from sqlalchemy import Select, Text, bindparam, func, select, tuple_
from sqlalchemy import cast as sql_cast
from sqlalchemy.orm import Session as DatabaseSession
from sqlalchemy.orm import defer

from core.conversation.damage import Damaged, number, pass_over
from core.conversation.keys import keys
from core.conversation.message import Message
from core.stores import tables
from core.stores.database import Database
from core.stores.redis import Redis, RedisDamaged

CHUNK_SIZE = 10
"""Messages read at once, at the most. One may have a million characters, so a read that begins at the newest one and
may stop at any begins with one, and doubles."""
NEWEST_MESSAGES = 50
NEWEST_CHARACTERS = 65_536
"""Messages, and characters of their text (in Redis bytes of what is stored), that are read before a prompt or a page
is known to take them."""
SEARCH_CHUNK_SIZE = 20
"""Messages among which one without a known place is looked for at once in Redis, which copies them all for it."""
MAX_SEARCHED = 200
"""How many of the newest are looked through then."""

IDS = """
local ids = {}
for i, word in ipairs(redis.call('LRANGE', KEYS[1], ARGV[1], ARGV[2])) do
  ids[i] = string.match(word, '^{"id":"([^"]+)"') or ''
end
return ids
"""


# What most prompts and pages take, in one command: no more than so many messages, and none beyond so many bytes but
# the one that passes them.
NEWEST = """
local words, size = {}, 0
for place = tonumber(ARGV[1]), 0, -1 do
  local word = redis.call('LINDEX', KEYS[1], place)
  if not word then break end
  words[#words + 1], size = word, size + #word
  if #words >= tonumber(ARGV[2]) or size >= tonumber(ARGV[3]) then break end
end
return words
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
        self._session_id = session_id
        self._meta, self._key = keys(session_id).meta, keys(session_id).words
        self._count = count

    def newest_first(self, before: UUID | None = None) -> Iterator[Message]:
        """All of them or, with `before`, those older than that one. Raises UnknownMessage."""
        end = self._count if before is None else self._place(str(before))
        while end > 0 and (stored := self._read_back(end)):
            yield from load(self._session_id, stored)
            end -= len(stored)

    def oldest_first(self) -> Iterator[Message]:
        """All of them."""
        for start in range(0, self._count, CHUNK_SIZE):
            yield from load(self._session_id, self._read(start, min(start + CHUNK_SIZE, self._count)))

    def _read(self, start: int, end: int) -> Sequence[str]:
        try:
            return cast("list[str]", self._redis.lrange(self._key, start, end - 1))
        except RedisDamaged:
            return []  # since the list was counted

    def _read_back(self, end: int) -> Sequence[str]:
        """The newest ones before this place, newest first, as many as NEWEST says."""
        try:
            limits = (NEWEST_MESSAGES, NEWEST_CHARACTERS)
            return cast("list[str]", self._redis.eval(NEWEST, 1, self._key, end - 1, *limits))
        except RedisDamaged:
            return []  # since the list was counted

    def _place(self, message_id: str) -> int:
        try:
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.hmget(self._meta, ["placed", f"place:{message_id}"])
                pipe.llen(self._key)
                (placed, stored), count = pipe.execute()
            place = number(stored)
            if (number(placed) or 0) != count:
                return self._search(message_id)
        except (Damaged, RedisDamaged):
            return self._search(message_id)
        if place is None or place >= self._count:
            raise UnknownMessage
        return place

    def _search(self, message_id: str) -> int:
        """For words that the log has not put there, or had put before it kept their places."""
        last = max(0, self._count - MAX_SEARCHED)
        for top in range(self._count, last, -SEARCH_CHUNK_SIZE):
            start = max(last, top - SEARCH_CHUNK_SIZE)
            try:
                ids = cast("list[str]", self._redis.eval(IDS, 1, self._key, start, top - 1))
            except RedisDamaged:
                break  # it is no list any more
            if message_id in ids:
                return start + ids.index(message_id)
        raise UnknownMessage


class Newest(NamedTuple):
    """The newest of an owned session's messages, newest first."""

    rows: "Sequence[StoredRow]"
    more: bool
    """Whether there are older ones."""


def read_newest(db_session: DatabaseSession, session_id: UUID, unfinished: UUID) -> Newest:
    """What most prompts take, in one statement: at most NEWEST_MESSAGES, and none beyond NEWEST_CHARACTERS but the
    one that passes them. Not the `unfinished` answer."""
    found = db_session.execute(_NEWEST, {"session": session_id, "unfinished": unfinished}).all()
    rows = [(message, problem) for message, problem, _ in found]
    return Newest(rows, any(count > len(found) for *_, count in found))


def _select_newest() -> Select[tables.Message, str | None, int]:
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
        select(row, sql_cast(row.problem, Text), select(func.count()).select_from(near).scalar_subquery())
        .options(defer(row.problem, raiseload=True))
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
            yield from self._load(self._newest.rows)
            if not self._newest.more:
                return
            place, chunk = _place_of(self._newest.rows[-1]), CHUNK_SIZE
        while rows := self._read(before=place, limit=chunk):
            yield from self._load(rows)
            place, chunk = _place_of(rows[-1]), min(2 * chunk, CHUNK_SIZE)

    def oldest_first(self) -> Iterator[Message]:
        """All of them."""
        newest = self._read(limit=1)
        place = None
        while newest and (rows := self._read(after=place, until=_place_of(newest[0]))):
            yield from self._load(rows)
            place = _place_of(rows[-1])

    def _place(self, message_id: UUID) -> "Place":
        row = tables.Message
        named = select(row.created_at, row.id).where(row.id == message_id, row.session_id == self._session_id)
        with self._database.reading() as db:
            found = db.execute(named).one_or_none()
        if found is None:
            raise UnknownMessage
        return found[0], found[1]

    def _load(self, rows: "Iterable[StoredRow]") -> Iterator[Message]:
        for row, problem in rows:
            try:
                yield Message.from_row(row, problem)
            except Damaged as kind:
                pass_over(self._session_id, f"message {row.id}", kind)

    def _read(
        self,
        *,
        before: "Place | None" = None,
        after: "Place | None" = None,
        until: "Place | None" = None,
        limit: int = CHUNK_SIZE,
    ) -> "Sequence[StoredRow]":
        """The next few: oldest first with `until`, else newest first."""
        row = tables.Message
        place = tuple_(row.created_at, row.id)
        # A problem is decoded later, or one that can't be would take all rows of the chunk with it.
        problem = sql_cast(row.problem, Text)
        query = select(row, problem).options(defer(row.problem, raiseload=True))
        query = query.where(row.session_id == self._session_id)
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
            return [(found, text) for found, text in db.execute(query.limit(limit))]


def load(session_id: UUID, stored: Iterable[str]) -> Iterator[Message]:
    """Those of a session's stored messages that can be read."""
    for each in stored:
        try:
            yield Message.load(each)
        except Damaged as kind:
            pass_over(session_id, "a message", kind)


def _place_of(stored: "StoredRow") -> "Place":
    return stored[0].created_at, stored[0].id


StoredRow = tuple[tables.Message, str | None]
"""A row, and the text of its `problem`."""
Place = tuple[datetime, UUID]
"""Of a message in its session's order."""
