"""SessionService: creates, validates, extends, switches, reports and ends sessions.

The only code that writes the session table. It takes a database session and leaves the commit to its caller,
so that one transaction can hold more than one step. Nothing in it touches Redis or the network but
`admit_create`, which is called before there is a transaction.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import ColumnElement, CursorResult, and_, delete, func, select, update
from sqlalchemy import exc as sql_exc
from sqlalchemy.orm import Session as DatabaseSession
from uuid_utils.compat import uuid7

from core.clock import Clock, born_at, rfc3339
from core.errors import (
    LoginRequired,
    NotOwner,
    SessionExpired,
    SessionInvalid,
    SwitchboardError,
    TooManySessions,
    Unavailable,
    VersionConflict,
)
from core.limits.buckets import creation_buckets, owner_buckets
from core.limits.rate_limit import Decision, RateLimiter
from core.secret import digests_match
from core.sessions.lifetime import Lifetime
from core.settings import Settings
from core.stores.tables import Session, User


class Models(Protocol):
    """What SessionService needs to know about the models on offer; ClientPool is one."""

    @property
    def default(self) -> str:
        """The name of the model that a new session begins with."""
        ...

    def require(self, name: str) -> None:
        """Raise UnknownModel unless the model is on offer."""
        ...

    def offered(self, name: str) -> str:
        """The model itself, or the fallback when it has been retired."""
        ...


class SessionService:
    """Sessions and the rules about them. An ordinary object, given its collaborators."""

    def __init__(self, settings: Settings, models: Models, clock: Clock, limiter: RateLimiter | None = None) -> None:
        """Without a limiter, creations can't be admitted; all else can be done."""
        self._settings = settings
        self._limiter = limiter
        self._models = models
        self._clock = clock
        self._anonymous = Lifetime(settings.anonymous_idle, settings.anonymous_max)
        self._owned = Lifetime(settings.user_idle, settings.user_max)

    def admit_create(self, model: str | None, user_id: UUID | None = None, *, address: str | None = None) -> Decision:
        """Check, before anything is queued, that a session may be created, by a user or from an address.

        Charges the user or, for an anonymous one, the address. Whether the user has room for one more is
        `require_room`'s to say. Raises UnknownModel, RateLimited or Unavailable.
        """
        if model is not None:
            self._models.require(model)
        if self._limiter is None:
            raise Unavailable("Sessions can't be created here.")
        settings = self._settings
        if user_id is not None:
            return self._limiter.require(owner_buckets("create", user_id, settings.limit_create_user))
        return self._limiter.require(creation_buckets(address, settings.limit_create, settings.limit_create_global))

    def require_room(self, user_id: UUID, db_session: DatabaseSession, session_id: UUID | None = None) -> None:
        """Raise TooManySessions when the user has as many living sessions, besides the one of this id, as one may
        have."""
        living = select(func.count()).where(Session.owner_id == user_id, Session.expires_at > self._clock.now())
        if session_id is not None:
            living = living.where(Session.id != session_id)
        if (db_session.scalar(living) or 0) >= self._settings.sessions_per_user:
            raise TooManySessions(self._settings.sessions_per_user)

    def create_session(
        self,
        db_session: DatabaseSession,
        user_id: UUID | None = None,
        *,
        session_id: UUID | None = None,
        secret_hash: bytes | None = None,
        model: str | None = None,
    ) -> Session:
        """Create a session, owned by `user_id` or, with the hash of its secret, anonymous.

        Idempotent by `session_id`: a second call with the same id and proof returns the first one's row.
        Raises UnknownModel, TooManySessions, SessionInvalid when the id is taken by a session with another proof, or
        LoginRequired when the owner's account has been deleted.
        """
        if (user_id is None) == (secret_hash is None):
            raise ValueError("a session has an owner or a secret: exactly one")
        model = model or self._models.default
        self._models.require(model)
        session_id = session_id or uuid7()
        if user_id is not None:
            self._take_room(user_id, session_id, db_session)
        now = self._clock.now()
        lifetime = self._owned if user_id else self._anonymous
        ends_at = lifetime.ends(now)
        session = Session(
            id=session_id,
            owner_id=user_id,
            secret_hash=secret_hash,
            last_model=model,
            version=1,
            created_at=now,
            expires_at=lifetime.expiry(now, ends_at),
            ends_at=ends_at,
        )
        try:
            with db_session.begin_nested():
                db_session.add(session)
        except sql_exc.IntegrityError:
            existing = db_session.get(Session, session.id)
            if existing is None:
                raise LoginRequired("This account has been deleted.") from None
            if (existing.owner_id, existing.secret_hash) != (user_id, secret_hash):
                raise SessionInvalid("This session id is taken.") from None
            return existing
        return session

    def validate_session(
        self,
        session_id: UUID,
        db_session: DatabaseSession,
        user_id: UUID | None = None,
        require_valid: bool = False,
        *,
        secret_hash: bytes | None = None,
    ) -> Session | None:
        """The session, if it lives and the caller has proved to be its holder; never writes.

        An owned session is proved by `user_id`, an anonymous one by the hash of its secret. Otherwise None,
        or with `require_valid` the reason: SessionInvalid, NotOwner or SessionExpired.
        """
        try:
            session = self._live(session_id, db_session)
            self._check_holder(session, user_id, secret_hash)
            if session.expires_at <= self._clock.now():
                raise SessionExpired
        except SwitchboardError:
            if require_valid:
                raise
            return None
        return session

    def extend_session(self, session_id: UUID, db_session: DatabaseSession) -> datetime:
        """Count this moment as activity and return when the session expires now.

        Never beyond the absolute lifetime; writes only a noticeable move. The caller has validated the
        session. Raises SessionInvalid or SessionExpired.
        """
        # Locked, so that a claim of the same session goes before or after, never in between.
        session = self._live(session_id, db_session, for_update=True)
        now = self._clock.now()
        if session.expires_at <= now:
            raise SessionExpired
        extended = self._lifetime(session).extension(now, session.expires_at, session.ends_at)
        if extended is not None:
            session.expires_at = extended
            db_session.flush()
        return session.expires_at

    def switch_model(
        self,
        session_id: UUID,
        new_model: str,
        db_session: DatabaseSession,
        user_id: UUID | None = None,
        *,
        version: int | None = None,
        command_id: UUID | None = None,
    ) -> Session:
        """Make `new_model` the session's model from the next message on.

        With `version`, of any number of callers that hold the same version exactly one succeeds. With `command_id`,
        a switch that has been made is not made again: its repeat returns the session. The holder of an anonymous
        session has been validated by its secret before; here it must be nobody's.
        Raises UnknownModel, NotOwner, SessionInvalid, SessionExpired or VersionConflict.
        """
        self._models.require(new_model)
        # Locked: of two deliveries of one command the second sees what the first has done.
        session = self._live(session_id, db_session, for_update=True)
        if session.owner_id != user_id:
            raise NotOwner
        if session.expires_at <= self._clock.now():
            raise SessionExpired
        if command_id is not None and session.last_command == command_id:
            return session
        # Compare and set in one statement: the database decides between racers, not what was read above.
        # Without a version of the caller's own, whatever is current is meant.
        expected = Session.version if version is None else version
        switched: CursorResult[Any] = db_session.execute(  # type: ignore[assignment]
            update(Session)
            .where(Session.id == session_id, Session.version == expected)
            .values(last_model=new_model, version=Session.version + 1, last_command=command_id)
            .execution_options(synchronize_session=False)
        )
        if switched.rowcount != 1:
            raise VersionConflict
        db_session.refresh(session)
        return session

    def get_current_model(self, session_id: UUID, db_session: DatabaseSession) -> str:
        """The model that the next message goes to: the last one chosen or, when that has been retired, its
        fallback; the stored choice stays. Raises SessionInvalid."""
        return self.current_model(self._live(session_id, db_session))

    def current_model(self, session: Session) -> str:
        """`get_current_model` for a row at hand."""
        return self._models.offered(session.last_model)

    def claim_session(
        self, session_id: UUID, db_session: DatabaseSession, user_id: UUID, *, secret_hash: bytes
    ) -> Session:
        """Give an anonymous session to the user who also holds its secret; the secret is worth nothing after.

        Of any number of claimants one wins. Raises SessionInvalid, SessionExpired, NotOwner, TooManySessions or
        LoginRequired.
        """
        self._take_room(user_id, session_id, db_session)
        now = self._clock.now()
        ends_at = self._owned.ends(now)
        claimed: CursorResult[Any] = db_session.execute(  # type: ignore[assignment]
            update(Session)
            .where(
                Session.id == session_id,
                Session.owner_id.is_(None),
                Session.secret_hash == secret_hash,
                Session.expires_at > now,
            )
            .values(
                owner_id=user_id,
                secret_hash=None,
                version=Session.version + 1,
                expires_at=self._owned.expiry(now, ends_at),
                ends_at=ends_at,
            )
            .execution_options(synchronize_session=False)
        )
        if claimed.rowcount != 1:
            self.validate_session(session_id, db_session, require_valid=True, secret_hash=secret_hash)
            raise SessionInvalid
        return db_session.get_one(Session, session_id, populate_existing=True)

    def list_sessions(
        self, user_id: UUID, db_session: DatabaseSession, *, before: UUID | None = None, limit: int = 50
    ) -> Sequence[Session]:
        """A user's living sessions, newest first; with `before`, those older than that one."""
        query = select(Session).where(Session.owner_id == user_id, Session.expires_at > self._clock.now())
        if before is not None:
            query = query.where(Session.id < before)
        return db_session.scalars(query.order_by(Session.id.desc()).limit(limit)).all()

    def rename_session(self, session_id: UUID, title: str, db_session: DatabaseSession) -> Session:
        """Call an owned session something else. The caller has validated it. Raises NotOwner for an anonymous
        one: its title would be words in the database."""
        session = self._live(session_id, db_session)
        if session.anonymous:
            raise NotOwner("An anonymous session has no title; claim it first.")
        session.title = title
        return session

    def untitle_session(self, session_id: UUID, db_session: DatabaseSession) -> None:
        """Forget what an owned session is called, after its first message has been taken back."""
        db_session.execute(update(Session).where(Session.id == session_id).values(title=None))

    def lock_session(self, session: Session, db_session: DatabaseSession) -> bool:
        """Lock the row of a session that was validated before; whether it is still there and proved the same way.

        Between the two somebody may have claimed it: then it is no longer the validated holder's.
        """
        return db_session.scalar(select(Session.id).where(is_held_as(session)).with_for_update()) is not None

    def lock_expired(self, db_session: DatabaseSession, limit: int = 500) -> dict[UUID, UUID | None]:
        """The owners of up to `limit` expired sessions by id, locked; two sweeps at once get different ones."""
        rows = db_session.execute(
            select(Session.id, Session.owner_id)
            .where(Session.expires_at <= self._clock.now())
            .order_by(Session.expires_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        return dict(rows.all())

    def delete_sessions(self, session_ids: Collection[UUID], db_session: DatabaseSession) -> None:
        """Delete the rows and what hangs on them. The caller has validated, or locked, the sessions."""
        db_session.execute(delete(Session).where(Session.id.in_(session_ids)))

    def describe(self, session: Session) -> dict[str, Any]:
        """The session as the wire has it."""
        return {
            "session_id": str(session.id),
            "anonymous": session.anonymous,
            "model": self.current_model(session),
            "version": session.version,
            "created_at": rfc3339(session.created_at),
            "expires_at": rfc3339(session.expires_at),
        }

    def _take_room(self, user_id: UUID, session_id: UUID, db_session: DatabaseSession) -> None:
        if not _lock_user(user_id, db_session):
            raise LoginRequired("This account has been deleted.")
        self.require_room(user_id, db_session, session_id)

    def _lifetime(self, session: Session) -> Lifetime:
        return self._anonymous if session.anonymous else self._owned

    def _live(self, session_id: UUID, db_session: DatabaseSession, *, for_update: bool = False) -> Session:
        session = db_session.get(Session, session_id, with_for_update=for_update)
        if session is None:
            raise self._missing(session_id)
        return session

    def _missing(self, session_id: UUID) -> SwitchboardError:
        """Expired sessions are swept away without a trace, yet their holders deserve to be told apart from
        forgers: a UUIDv7 carries its birth, and one born so long ago that it must have expired says so."""
        if session_id.version != 7:
            return SessionInvalid()
        age = self._clock.now() - born_at(session_id)
        longest = max(self._anonymous.absolute, self._owned.absolute)
        swept = self._anonymous.idle <= age <= 2 * longest
        return SessionExpired() if swept else SessionInvalid()

    def _check_holder(self, session: Session, user_id: UUID | None, secret_hash: bytes | None) -> None:
        if session.owner_id is not None:
            if session.owner_id != user_id:
                raise NotOwner
            return
        if secret_hash is None or not digests_match(secret_hash, session.secret_hash or b""):
            raise SessionInvalid


def is_held_as(session: Session) -> ColumnElement[bool]:
    """The row of this session, as long as the same proof opens it as when it was read."""
    return and_(
        Session.id == session.id,
        Session.owner_id.is_not_distinct_from(session.owner_id),
        Session.secret_hash.is_not_distinct_from(session.secret_hash),
    )


def _lock_user(user_id: UUID, db_session: DatabaseSession) -> bool:
    """Whether the account is in use; if it is, it stays so until the end of the transaction.

    The lock is for one at a time: of two transactions that each see room for one more session, one looks again.
    """
    # NO KEY UPDATE: rows that refer to the user, such as a login, can be added meanwhile.
    wanted = select(User.id).where(User.id == user_id, User.deleted_at.is_(None)).with_for_update(key_share=True)
    return db_session.scalar(wanted) is not None
