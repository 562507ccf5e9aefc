"""What a stream's reader has proved, and whether it still holds: looked up for many at once.

A stream may be open for an hour; what opened it may end meanwhile: a login, a key, a token, the account, or the
anonymous session's secret by a claim. The rows decide, as they do for every request.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.orm import Session as DatabaseSession

from core.auth.principal import Principal
from core.clock import Clock
from core.stores.database import Database
from core.stores.tables import ApiKey, Login, Session, User

BATCH = 200
"""Proofs that one set of statements takes."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A session's owner and secret, as they were when a client proved to hold it; or a user alone."""

    session_id: UUID | None
    """None for what is a user's own, and of no one session."""
    owner_id: UUID | None
    secret_hash: bytes | None
    principal: Principal | None
    """The user that proved to be the owner. None for the holder of an anonymous session."""

    @classmethod
    def for_session(cls, session: Session, principal: Principal | None) -> "Proof":
        """Of a session that has just been validated for this principal."""
        return cls(session.id, session.owner_id, session.secret_hash, None if session.anonymous else principal)

    @classmethod
    def for_user(cls, principal: Principal) -> "Proof":
        """Of a user, for what is theirs."""
        return cls(None, None, None, principal)

    def concerns(self, subject: str) -> bool:
        """Whether this is the id of the session, of the user who proved to own it, or of the login that proved it."""
        ids: list[UUID | None] = [self.session_id]
        if self.principal is not None:
            ids += [self.principal.user_id, self.principal.login_id]
        return subject in map(str, ids)


class Proofs:
    """Checks them. Reads only."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def still_hold(self, proofs: Sequence[Proof]) -> list[bool]:
        """Of each, whether it would still open its session. Raises Unavailable.

        Whether the session has expired is not asked: its readers know when it does.
        """
        held: list[bool] = []
        for at in range(0, len(proofs), BATCH):
            held += self._look(proofs[at : at + BATCH])
        return held

    def valid_principals(self, principals: Collection[Principal]) -> set[Principal]:
        """Those of the principals that would still be proved by what proved them. Raises Unavailable."""
        with self._database.reading() as db:
            return self._valid(principals, db)

    def _look(self, proofs: Sequence[Proof]) -> list[bool]:
        with self._database.reading() as db:
            wanted = select(Session.id, Session.owner_id, Session.secret_hash)
            ids = {proof.session_id for proof in proofs} - {None}
            found = db.execute(wanted.where(Session.id.in_(ids))) if ids else ()
            holders = {row.id: (row.owner_id, row.secret_hash) for row in found}
            valid = self._valid({proof.principal for proof in proofs if proof.principal is not None}, db)
        return [
            (proof.session_id is None or holders.get(proof.session_id) == (proof.owner_id, proof.secret_hash))
            and (proof.principal is None or proof.principal in valid)
            for proof in proofs
        ]

    def _valid(self, principals: Collection[Principal], db: DatabaseSession) -> set[Principal]:
        now = self._clock.now()
        users = _found(db, User.id, {each.user_id for each in principals}, User.deleted_at.is_(None))
        logins = {each.login_id for each in principals if each.login_id is not None}
        logins_on = _found(db, Login.id, logins, Login.expires_at > now)
        keys_left = _found(db, ApiKey.id, {each.key_id for each in principals if each.key_id is not None})
        return {
            each
            for each in principals
            if each.user_id in users
            and (each.login_id is None or each.login_id in logins_on)
            and (each.key_id is None or each.key_id in keys_left)
            and (each.expires_at is None or each.expires_at > now)
        }


def _found(
    db: DatabaseSession, column: InstrumentedAttribute[UUID], ids: Collection[UUID], *conditions: ColumnElement[Any]
) -> set[UUID]:
    return set(db.scalars(select(column).where(column.in_(ids), *conditions))) if ids else set()
