"""Questions that wait until the answer before them has ended: a row each, in their session's order.

The row is there until its question is in the queue of answers, so that whoever dies on the way, another goes on
(GenerationService.promote). A guest's words are in Redis only, in the hash of the session's log, under an id that the
row names and each edit changes: so the row decides which words are meant. They are written before the row is, and go
after it has changed.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, delete, exists, func, insert, or_, select, update
from sqlalchemy.orm import Session as DatabaseSession
from uuid_utils.compat import uuid7

from core.clock import Clock, rfc3339
from core.conversation.event_log import EventLog
from core.conversation.position import Position
from core.conversation.removals import Removals
from core.errors import NotWaiting, SessionInvalid, TooManyWaiting, Unavailable
from core.generation.attempts import keep_log_until
from core.observability.log_ids import current_request_id
from core.observability.tracing import traceparent
from core.sessions.service import SessionService
from core.stores.database import Database
from core.stores.tables import IS_LIVE, Generation, Session, Waiting

MAX_WAITING = 10
"""Questions that wait in one session."""


class NewQuestion(NamedTuple):
    """One that is to wait."""

    generation_id: UUID
    text: str
    parent_id: UUID | None
    """What it is to follow: a message or, with the session's id, nothing. None: the current branch at its turn."""
    model: str | None
    """None: the session's at its turn."""


class WaitingQuestion(NamedTuple):
    """One that waits, as its session's holder sees it."""

    generation_id: UUID
    message: str
    position: int
    """How many wait before it."""
    created_at: datetime

    def describe(self) -> dict[str, Any]:
        """As the wire has it."""
        return {
            "generation_id": str(self.generation_id),
            "message": self.message,
            "position": self.position,
            "created_at": rfc3339(self.created_at),
        }


class Added(NamedTuple):
    """One that has been added."""

    position: int
    before: Position
    """The place in the log just before it."""
    stopped: UUID | None
    """The live answer that its asker wants to stop."""


class _Known(Exception):
    """One of this id has been added before."""


class WaitingQuestions:
    """The questions that wait. Sessions that are passed in have been validated by the caller."""

    def __init__(
        self, database: Database, sessions: SessionService, log: EventLog, removals: Removals, clock: Clock
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._log = log
        self._removals = removals
        self._clock = clock

    def add(self, session: Session, question: NewQuestion, *, interrupts: bool) -> Added | None:
        """Let a question wait: behind the others or, if it interrupts, before them, and then the live answer is
        asked to stop in the same transaction. None when one of this id has been added before.

        Raises TooManyWaiting, SessionInvalid, SessionExpired or Unavailable; then nothing stays.
        """

        generation_id, text, *_ = question

        def insert_row(words_id: UUID, kept: str | None, db: DatabaseSession) -> tuple[int, UUID | None]:
            if db.get(Waiting, generation_id) or db.get(Generation, generation_id):
                raise _Known
            self._insert(session, question, words_id, kept, db, first=interrupts)
            self._sessions.note_message(self._sessions.lock_living(session.id, db), text, db)
            ahead = select(func.count()).where(Waiting.session_id == session.id, Waiting.id != generation_id)
            position = 0 if interrupts else db.scalar(ahead) or 0
            return position, _stop(session.id, db) if interrupts else None

        try:
            position, stopped = self._change(session, text, insert_row)
        except _Known:
            return None
        before = self._tell(session, "waiting", generation_id, position=position)
        return Added(position, before, stopped)

    def find(self, session: Session, generation_id: UUID) -> Added | None:
        """One that waits, as it was told when it was added."""
        with self._database.reading() as db:
            row = db.get(Waiting, generation_id)
            if row is None or row.session_id != session.id:
                return None
            ahead = db.scalar(select(func.count()).where(Waiting.session_id == session.id, Waiting.place < row.place))
        tip = self._log.read(session.id, after=0, limit=1)
        return Added(ahead or 0, Position(tip.epoch, tip.top), None)

    def list(self, session: Session) -> list[WaitingQuestion]:
        """Those that wait, in their order."""
        with self._database.reading() as db:
            rows = db.scalars(
                select(Waiting).where(Waiting.session_id == session.id, _STILL_WAITS).order_by(Waiting.place)
            ).all()
        words = self._words(session, rows)
        return [
            WaitingQuestion(row.id, text, position, row.created_at)
            for position, (row, text) in enumerate(zip(rows, words, strict=True))
            if text is not None
        ]

    def edit(self, session: Session, generation_id: UUID, text: str) -> WaitingQuestion:
        """Give a question that waits other words. Raises NotWaiting, also when its turn has come; SessionInvalid,
        SessionExpired or Unavailable."""
        before: list[UUID] = []

        def change_row(words_id: UUID, kept: str | None, db: DatabaseSession) -> WaitingQuestion:
            row = _require_waiting(session.id, generation_id, db)
            before.append(row.words_id)
            db.execute(update(Waiting).where(Waiting.id == row.id).values(words_id=words_id, text=kept))
            ahead = select(func.count()).where(Waiting.session_id == session.id, Waiting.place < row.place)
            return WaitingQuestion(row.id, text, db.scalar(ahead) or 0, row.created_at)

        edited = self._change(session, text, change_row)
        self._forget(session, before)
        self._tell(session, "waiting", generation_id, position=edited.position)
        return edited

    def remove(self, session: Session, generation_id: UUID) -> None:
        """Take back a question that waits. Raises as `edit` does."""
        with self._database.writing() as db:
            self._lock(session, db)
            row = _require_waiting(session.id, generation_id, db)
            db.execute(delete(Waiting).where(Waiting.id == row.id))
        self._forget(session, [row.words_id])
        self._tell(session, "removed", generation_id)

    def next(self, session_id: UUID) -> tuple[Waiting, Session] | None:
        """The question whose turn is next in the session, and the session."""
        first = (
            select(Waiting, Session)
            .join(Session, Session.id == Waiting.session_id)
            .where(Waiting.session_id == session_id)
            .order_by(Waiting.place)
            .limit(1)
        )
        with self._database.reading() as db:
            found = db.execute(first).one_or_none()
            return None if found is None else (found[0], found[1])

    def words(self, session: Session, row: Waiting) -> str | None:
        """The question's words; None when Redis has lost them."""
        return self._words(session, [row])[0]

    def defer(self, row: Waiting, until: datetime) -> None:
        """Its owner's limits have refused it: it is not tried again before."""
        with self._database.writing_once() as db:
            db.execute(update(Waiting).where(Waiting.id == row.id).values(not_before=until))

    def forget(self, session: Session, row: Waiting, *, told: bool = True) -> None:
        """The question waits no more. `told`: readers know by another event."""
        with self._database.writing_once() as db:
            db.execute(delete(Waiting).where(Waiting.id == row.id))
        self._forget(session, [row.words_id])
        if not told:
            self._tell(session, "removed", row.id)

    def due(self, limit: int) -> Sequence[UUID]:
        """Sessions in which a question waits although nothing is live, or although it is in the queue already."""
        live = exists().where(Generation.session_id == Waiting.session_id, IS_LIVE)
        now = self._clock.now()
        in_time = or_(Waiting.not_before.is_(None), Waiting.not_before <= now)
        due = select(Waiting.session_id).where(or_(~live, ~_STILL_WAITS), in_time).distinct().limit(limit)
        with self._database.reading() as db:
            return db.scalars(due).all()

    def _insert(
        self,
        session: Session,
        question: NewQuestion,
        words_id: UUID,
        kept: str | None,
        db: DatabaseSession,
        *,
        first: bool,
    ) -> None:
        places = select(func.count(), func.min(Waiting.place), func.max(Waiting.place))
        count, least, most = db.execute(places.where(Waiting.session_id == session.id)).one()
        if count >= MAX_WAITING:
            raise TooManyWaiting(MAX_WAITING)
        row = {
            "id": question.generation_id,
            "session_id": session.id,
            "parent_id": question.parent_id,
            "model": question.model,
            "place": (least or 0) - 1 if first else (most or 0) + 1,
            "words_id": words_id,
            "text": kept,
            "created_at": self._clock.now(),
            "request_id": current_request_id(),
            "traceparent": traceparent(),
        }
        db.execute(insert(Waiting), [row])

    def _change(
        self, session: Session, text: str, change: "Callable[[UUID, str | None, DatabaseSession], Changed]"
    ) -> "Changed":
        """Change a row and its words, a guest's first: what is committed has its words."""
        words_id = uuid7()
        if session.anonymous:
            self._log.keep_waiting(session.id, words_id, text, expires_at=session.expires_at)
        try:
            with self._database.writing() as db:
                self._lock(session, db)
                return change(words_id, None if session.anonymous else text, db)
        except Exception:
            with suppress(Unavailable):
                self._forget(session, [words_id])
                self._removals.remove_if_gone(session)
            raise

    def _lock(self, session: Session, db: DatabaseSession) -> None:
        if self._sessions.lock_living(session.id, db).owner_id != session.owner_id:
            raise SessionInvalid("This session has just been claimed by a user.")

    def _tell(self, session: Session, kind: str, generation_id: UUID, **data: Any) -> Position:
        """Tell readers that the questions that wait are others. Without their words: who may see them asks."""
        until = keep_log_until(session, self._clock.now())
        told = self._log.append(session.id, kind, {"generation_id": str(generation_id), **data}, expires_at=until)
        self._removals.remove_if_gone(session)
        return Position(told.epoch, told.offset - 1)

    def _words(self, session: Session, rows: Sequence[Waiting]) -> "Sequence[str | None]":
        if session.anonymous:
            return self._log.waiting_words(session.id, [row.words_id for row in rows])
        return [row.text for row in rows]

    def _forget(self, session: Session, words_ids: Sequence[UUID]) -> None:
        if session.anonymous:
            self._log.forget_waiting(session.id, words_ids)


Changed = TypeVar("Changed")


def _stop(session_id: UUID, db: DatabaseSession) -> UUID | None:
    return db.scalar(
        update(Generation)
        .where(Generation.session_id == session_id, IS_LIVE)
        .values(stop_requested=True)
        .returning(Generation.id)
        .execution_options(synchronize_session=False)
    )


def _require_waiting(session_id: UUID, generation_id: UUID, db: DatabaseSession) -> Waiting:
    row = db.scalar(
        select(Waiting).where(Waiting.id == generation_id, Waiting.session_id == session_id, _STILL_WAITS)
    )
    if row is None:
        raise NotWaiting
    return row


_STILL_WAITS: ColumnElement[bool] = ~exists().where(Generation.id == Waiting.id)
"""Its turn has not come: then its generation is there."""
