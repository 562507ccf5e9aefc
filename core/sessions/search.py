"""The search in a user's own sessions: an index of words, and what is found by it.

Nothing is indexed while people wait: a message that is kept, by old versions too, is not searchable yet, and the
reaper indexes it. A search first indexes what is left of the user's own, so that it finds what has just been said.
Tokens are hexadecimal, and begin with their owner: so no query has a syntax to break out of, and common words are
looked up among the user's own alone. PostgreSQL has them in a tsvector, SQLite in FTS5.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Select,
    Text,
    Uuid,
    any_,
    bindparam,
    cast,
    column,
    delete,
    func,
    select,
    table,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session as DatabaseSession
from sqlalchemy.orm import aliased

from core.sessions import listing
from core.sessions.listing import IS_ANSWERING, LAST_END, Place
from core.stores.database import Database
from core.stores.quarantine import Quarantine
from core.stores.tables import Message, MessageWords, Session
from core.text.search_tokens import Term, tokens

MAX_QUERY = 200
"""Characters."""
MAX_TERMS = 16
"""Of a query; the first ones count."""
MAX_INDEXED = 50_000
"""Characters of a message that it is found by; and of which its snippet is made."""
MAX_TOKENS = 6_000
"""Different ones of a message: a tsvector has room for a megabyte."""
BATCH = 100
"""Messages that are indexed in one transaction."""
MAX_CAUGHT_UP = 5
"""Batches that a search indexes before it looks."""
MANY_HITS = 1_000
"""From so many on, what is found is looked for session by session, newest first: then a page is soon full."""


class Found(NamedTuple):
    """A session that has been found, and its marks."""

    session: Session
    answering: bool
    last_end: datetime | None
    said: str | None
    """The beginning of the newest message in which all of it was found; None: it was in the title."""


class Search:
    """Indexes and finds. All methods raise Unavailable when the database is away."""

    def __init__(self, database: Database, quarantine: Quarantine[UUID]) -> None:
        self._database = database
        self._quarantine = quarantine

    def index_pending(self, owner_id: UUID | None = None, batches: int = 1) -> int:
        """Index messages that are not yet, up to so many batches, only this user's if one is given; returns how many.
        Two at once index none twice. What can't be indexed holds up nothing else (core/stores/quarantine.py)."""
        done = 0
        for _ in range(batches):
            ids = self._pending(owner_id)
            done += sum(self._quarantine.for_batch(ids, self._index))
            if len(ids) < BATCH:
                break
        return done

    def index_title(self, session: Session, db_session: DatabaseSession) -> None:
        """Index an owned session's title, in the transaction that has changed it."""
        if session.title is None or session.owner_id is None:
            db_session.execute(delete(MessageWords).where(MessageWords.document_id == session.id))
            return
        self._keep([_document(session.id, session.id, None, session.owner_id, session.title)], db_session)

    def find(
        self, owner_id: UUID, wanted: Sequence[Term], now: datetime, before: Place | None, limit: int
    ) -> list[Found]:
        """The user's living sessions in which all of the terms are found in one message or in the title; last active
        first; with `before`, those after that place."""
        self.index_pending(owner_id, MAX_CAUGHT_UP)
        if not wanted:
            return []
        # PostgreSQL takes one row in fifty for one that has a word's beginning, whatever the word: it would look
        # through everybody's words instead of asking the index.
        with self._database.reading_by_index() as db:
            dialect = db.get_bind().dialect.name
            query = {"query": _QUERIES[dialect](owner_id, wanted[:MAX_TERMS])}
            hits = db.connection().execute(_COUNT[dialect], query).scalar_one()
            if not hits:
                return []
            values = {**listing.parameters(owner_id, now, before, limit), **query}
            page = _PAGES[dialect, hits == MANY_HITS, before is not None]
            return [Found(*row) for row in db.execute(page, values)]

    def _pending(self, owner_id: UUID | None) -> Sequence[UUID]:
        held = self._quarantine.held()
        pending = _PENDING_IDS if owner_id is None else _PENDING_IDS_OF_USER
        if held:
            pending = pending.where(Message.id.not_in(held))
        with self._database.reading() as db:
            return db.connection().execute(pending, {"owner_id": owner_id} if owner_id else None).scalars().all()

    def _index(self, ids: Sequence[UUID]) -> int:
        with self._database.writing() as db:
            chosen = _PENDING.where(Message.id.in_(ids)).with_for_update(skip_locked=True, of=Message)
            rows = db.execute(chosen).all()
            documents = {
                row.id: _document(row.id, row.session_id, row.id, row.owner_id, row.beginning) for row in rows
            }
            documents |= {
                row.session_id: _document(row.session_id, row.session_id, None, row.owner_id, row.title)
                for row in rows
                if row.title
            }
            self._keep(list(documents.values()), db)
            if rows:
                db.connection().execute(_MARK, {"ids": [row.id for row in rows]})
        return len(rows)

    def _keep(self, documents: Sequence[dict[str, Any]], db_session: DatabaseSession) -> None:
        if documents:
            # In one order, so that no two that index wait for each other in a circle.
            ordered = sorted(documents, key=lambda each: each["document_id"])
            db_session.connection().execute(_KEEP[db_session.get_bind().dialect.name], ordered)


_PENDING: Select[Any] = (
    select(
        Message.id,
        Message.session_id,
        Session.owner_id,
        Session.title,
        func.substr(Message.text, 1, MAX_INDEXED).label("beginning"),
    )
    .join(Session, Session.id == Message.session_id)
    .where(Message.searchable.is_(None), Message.state != "streaming", Session.owner_id.is_not(None))
)
# What follows is put together once, which takes as long as running it.
_PENDING_IDS: Select[Any] = _PENDING.with_only_columns(Message.id).limit(BATCH)
_PENDING_IDS_OF_USER = _PENDING_IDS.where(Session.owner_id == bindparam("owner_id"))
_FTS = table("message_words_fts", column("rowid"), column("message_words_fts"))
"""SQLite's index of the words, which is no table of ours. Its column of its own name stands for all others."""
_MARK = update(Message.__table__).where(Message.id.in_(bindparam("ids", expanding=True))).values(searchable=True)  # type: ignore[arg-type]


def _keeping(dialect: Any, words: Any) -> Any:
    new = dialect.insert(MessageWords.__table__).values(
        document_id=bindparam("document_id"),
        session_id=bindparam("session_id"),
        message_id=bindparam("message_id"),
        words=words,
    )
    return new.on_conflict_do_update(index_elements=["document_id"], set_={"words": new.excluded.words})


_KEEP = {
    "sqlite": _keeping(sqlite, bindparam("words")),
    "postgresql": _keeping(
        postgresql, func.array_to_tsvector(func.string_to_array(cast(bindparam("words"), postgresql.TEXT()), " "))
    ),
}


def _document(
    document_id: UUID, session_id: UUID, message_id: UUID | None, owner_id: UUID, said: str
) -> dict[str, Any]:
    distinct = dict.fromkeys(token.text for token in tokens(said[:MAX_INDEXED]))
    words = " ".join(_lexeme(owner_id, token) for token in islice(distinct, MAX_TOKENS) if token)
    return {"document_id": document_id, "session_id": session_id, "message_id": message_id, "words": words}


def _lexeme(owner_id: UUID, token: str) -> str:
    return f"{owner_id.hex[-12:]}x{token.encode(errors='replace').hex()}"


def _postgres_query(owner_id: UUID, wanted: Sequence[Term]) -> str:
    return " & ".join(f"'{_lexeme(owner_id, term.text)}'{':*' if term.prefix else ''}" for term in wanted)


def _sqlite_query(owner_id: UUID, wanted: Sequence[Term]) -> str:
    return " AND ".join(f'"{_lexeme(owner_id, term.text)}"{"*" if term.prefix else ""}' for term in wanted)


_QUERIES = {"postgresql": _postgres_query, "sqlite": _sqlite_query}
_MATCHES: Mapping[str, ColumnElement[bool]] = {
    "postgresql": MessageWords.words.op("@@", is_comparison=True)(
        cast(bindparam("query", type_=Text()), postgresql.TSQUERY())
    ),
    "sqlite": MessageWords.number.in_(select(_FTS.c.rowid).where(_FTS.c.message_words_fts.match(bindparam("query")))),
}
"""Whether a row has all of the terms."""
_COUNT = {
    dialect: select(func.count()).select_from(select(MessageWords.number).where(matches).limit(MANY_HITS).subquery())
    for dialect, matches in _MATCHES.items()
}


def _page(dialect: str, *, many: bool, continued: bool) -> Select[Any]:
    matches = _MATCHES[dialect]
    newest = (
        select(func.max(MessageWords.number))
        .where(MessageWords.session_id == Session.id, matches)
        .correlate(Session)
        .scalar_subquery()
    )
    hit = aliased(MessageWords)
    said = (
        select(func.substr(Message.text, 1, MAX_INDEXED))
        .select_from(hit)
        .outerjoin(Message, Message.id == hit.message_id)
        .where(hit.number == newest)
        .correlate(Session)
        .scalar_subquery()
    )
    page = listing.listing(IS_ANSWERING, LAST_END, said, continued=continued)
    # Each way is put so that PostgreSQL has no choice, which knows little of how many hits there are: from one
    # session to the next until the page is full, or from the hits to their sessions.
    if many:
        return page.where(newest.is_not(None))
    hits = select(MessageWords.session_id).where(matches)
    if dialect == "postgresql":
        return page.where(Session.id == any_(func.array(hits.scalar_subquery(), type_=ARRAY(Uuid()))))
    return page.where(Session.id.in_(hits))


_PAGES = {
    (dialect, many, continued): _page(dialect, many=many, continued=continued)
    for dialect in _MATCHES
    for many in (False, True)
    for continued in (False, True)
}
