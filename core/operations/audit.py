"""The audit log: what an operator may have to account for, appended to a table, never changed, and removed when it is
older than the operator wants to keep it.

No secrets, no words, no address of an anonymous person, no e-mail address of a person without an account.
"""

import logging
import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from threading import Lock
from time import monotonic
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError
from uuid_utils.compat import uuid7

from core.clock import Clock
from core.errors import Unavailable
from core.stores.database import Database
from core.stores.tables import AuditEvent

logger = logging.getLogger(__name__)

REFUSAL_INTERVAL = 60.0
"""Seconds in which the same refusal is written once by one process: a client can cause a thousand a second, and
must not fill the disk with them."""
BATCH = 1000
"""Events that one statement deletes."""
MAX_REMEMBERED_REFUSALS = 10_000
"""Refusals that are remembered for that."""


class Kind(StrEnum):
    """What happened."""

    REGISTERED = "registered"
    LOGIN = "login"
    LOGIN_FAILED = "login-failed"
    LOGOUT = "logout"
    LOGIN_ENDED = "login-ended"
    PASSWORD_CHANGED = "password-changed"  # noqa: S105
    KEY_CREATED = "key-created"
    KEY_REVOKED = "key-revoked"
    ACCOUNT_DELETED = "account-deleted"
    ACCOUNT_CLOSED = "account-closed"
    LIMITS_CHANGED = "limits-changed"
    SESSION_CLAIMED = "session-claimed"
    SESSION_DELETED = "session-deleted"
    NOT_OWNER = "not-owner"
    LIMITED = "limited"


class Audit:
    """Appends and reads. Each event is a transaction of its own, after what it tells of."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._lock = Lock()
        self._refused: dict[tuple[Kind, UUID | None, UUID | None, str | None], float] = {}

    def record(
        self, kind: Kind, *, user_id: UUID | None = None, session_id: UUID | None = None, detail: str | None = None
    ) -> None:
        """Append an event. `detail` is a few words of ours, never a client's.

        A failure is logged and nothing more: what happened has happened, and its caller is not to blame.
        """
        event = AuditEvent(
            id=uuid7(),
            at=self._clock.now(),
            kind=kind.value,
            user_id=user_id,
            session_id=session_id,
            detail=None if detail is None else detail[:255],
        )
        try:
            with self._database.writing() as db:
                db.add(event)
        except (Unavailable, SQLAlchemyError) as error:
            logger.warning("an audit event (%s) was not written: %s", kind.value, type(error).__name__)

    def refusal(
        self, kind: Kind, *, user_id: UUID | None = None, session_id: UUID | None = None, detail: str | None = None
    ) -> None:
        """Append something that was refused; the same again within a minute is not written twice."""
        if self._is_news((kind, user_id, session_id, detail)):
            self.record(kind, user_id=user_id, session_id=session_id, detail=detail)

    def read(
        self,
        *,
        since: datetime | None = None,
        kind: str | None = None,
        user_id: UUID | None = None,
        limit: int | None = None,
    ) -> Sequence[AuditEvent]:
        """Events, oldest first; with `limit` the newest so many."""
        wanted = select(AuditEvent).order_by(AuditEvent.at.desc(), AuditEvent.id.desc()).limit(limit)
        if since is not None:
            wanted = wanted.where(AuditEvent.at >= since)
        if kind is not None:
            wanted = wanted.where(AuditEvent.kind == kind)
        if user_id is not None:
            wanted = wanted.where(AuditEvent.user_id == user_id)
        with self._database.reading() as db:
            return db.scalars(wanted).all()[::-1]

    def delete_old(
        self,
        retention: timedelta | None,
        *,
        until: float = math.inf,
        on_deleted: Callable[[int], None] = lambda _: None,
    ) -> int:
        """Delete the events that are older than `retention`, if there is one, in bounded batches; returns how many.
        `on_deleted` is called with each batch's number.

        No batch is begun after `until`, by `time.monotonic`. Safe to run twice at once. Raises Unavailable.
        """
        deleted = 0
        oldest = None if retention is None else self._clock.now() - retention
        since: datetime | None = None
        while oldest is not None and monotonic() < until:
            moments = self._delete_batch(oldest, since)
            deleted += len(moments)
            on_deleted(len(moments))
            if len(moments) < BATCH:
                break
            since = max(moments)
        return deleted

    def _delete_batch(self, before: datetime, since: datetime | None) -> Sequence[datetime]:
        """The moments of the events that were deleted. Those before `since` have been, and are not passed over."""
        old = select(AuditEvent.id).where(AuditEvent.at < before)
        if since is not None:
            old = old.where(AuditEvent.at >= since)
        batch = old.order_by(AuditEvent.at).limit(BATCH).with_for_update(skip_locked=True)
        with self._database.writing() as db:
            return db.scalars(delete(AuditEvent).where(AuditEvent.id.in_(batch)).returning(AuditEvent.at)).all()

    def _is_news(self, refused: tuple[Kind, UUID | None, UUID | None, str | None]) -> bool:
        now = monotonic()
        with self._lock:
            last = self._refused.pop(refused, None)
            if last is not None and now - last < REFUSAL_INTERVAL:
                self._refused[refused] = last
                return False
            if len(self._refused) >= MAX_REMEMBERED_REFUSALS:
                del self._refused[next(iter(self._refused))]
            self._refused[refused] = now
            return True
