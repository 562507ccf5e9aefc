"""The search in a user's own sessions: an index of words, and what is found by it.

Nothing is indexed while people wait: a message that is kept, by old versions too, is not searchable yet, and the
reaper indexes it. A search first indexes what is left of the user's own, so that it finds what has just been said.
Tokens are hexadecimal, and begin with their owner: so no query has a syntax to break out of, and common words are
looked up among the user's own alone. PostgreSQL has them in a tsvector, SQLite in FTS5.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, bindparam, cast, column, delete, func, select, table, true, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session as DatabaseSession

from core.stores.database import Database
from core.stores.quarantine import Quarantine
from core.stores.tables import ACTIVITY, Message, MessageWords, Session
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


class Hit(NamedTuple):
    """A session that has been found."""

    session_id: UUID
    message_id: UUID | None
    """The newest message in which something was found, or None when it was in the title."""


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
        self, owner_id: UUID, wanted: Sequence[Term], where: Sequence[ColumnElement[bool]], limit: int
    ) -> list[Hit]:
        """The user's sessions in which all of the terms are found in one message or in the title, that meet the
        conditions; last active first."""
        self.index_pending(owner_id, MAX_CAUGHT_UP)
        wanted = wanted[:MAX_TERMS]
        if not wanted:
            return []
        with self._database.reading() as db:
            matches = _matches(owner_id, wanted, db)
            of_user = (Session.owner_id == owner_id, *where)
            found = list(db.scalars(select(MessageWords.session_id).where(matches).limit(MANY_HITS)))
            if not found:
                return []
            if len(found) < MANY_HITS:
                chosen = select(Session.id).where(*of_user, Session.id.in_(set(found)))
            else:
                chosen = select(Session.id).where(
                    *of_user, select(true()).where(MessageWords.session_id == Session.id, matches).exists()
                )
            ordered = db.scalars(chosen.order_by(ACTIVITY.desc(), Session.id.desc()).limit(limit)).all()
            newest = (
                select(MessageWords.session_id, func.max(MessageWords.number).label("number"))
                .where(MessageWords.session_id.in_(ordered), matches)
                .group_by(MessageWords.session_id)
                .subquery()
            )
            hits = select(MessageWords.session_id, MessageWords.message_id).join(
                newest, newest.c.number == MessageWords.number
            )
            messages = dict(db.execute(hits).all()) if ordered else {}
        return [Hit(each, messages[each]) for each in ordered if each in messages]

    def texts(self, message_ids: Sequence[UUID]) -> dict[UUID, str]:
        """The beginnings of these messages, as far as they are indexed."""
        if not message_ids:
            return {}
        with self._database.reading() as db:
            return dict(db.execute(_BEGINNINGS, {"ids": message_ids}).all())

    def _pending(self, owner_id: UUID | None) -> Sequence[UUID]:
        pending = _PENDING if owner_id is None else _PENDING.where(Session.owner_id == owner_id)
        to_try = pending.with_only_columns(Message.id).where(Message.id.not_in(self._quarantine.held()))
        with self._database.reading() as db:
            return db.scalars(to_try.limit(BATCH)).all()

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
# Put together once, which takes as long as running it.
_BEGINNINGS = select(Message.id, func.substr(Message.text, 1, MAX_INDEXED)).where(
    Message.id.in_(bindparam("ids", expanding=True))
)
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


def _matches(owner_id: UUID, wanted: Sequence[Term], db_session: DatabaseSession) -> ColumnElement[bool]:
    """Whether a row has all of the terms."""
    lexemes = [(_lexeme(owner_id, term.text), term.prefix) for term in wanted]
    if db_session.get_bind().dialect.name == "postgresql":
        query = " & ".join(f"'{lexeme}'{':*' if prefix else ''}" for lexeme, prefix in lexemes)
        return MessageWords.words.op("@@")(cast(query, postgresql.TSQUERY()))
    query = " AND ".join(f'"{lexeme}"{"*" if prefix else ""}' for lexeme, prefix in lexemes)
    return MessageWords.number.in_(select(_FTS.c.rowid).where(_FTS.c.message_words_fts.match(query)))
