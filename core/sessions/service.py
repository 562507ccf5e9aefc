"""SessionService: creates, validates, extends, switches, titles, claims and deletes sessions.

The only writer of the session table (tests/support/sole_writer.py enforces it), and it writes by statements alone:
rows that it returns are for reading. It takes a database session, any of SQLAlchemy's, and leaves the commit to its
caller, so that one transaction can hold more than one step. What it reads is as the database has it now, not as that
session has read it before. Nothing in it touches Redis or the network.

What the database driver raises passes as it is, such as OperationalError when SQLite stays locked: only the blocks of
core/stores/database.py wait for a lock until their deadline, and turn these errors into Unavailable.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from sqlalchemy import ColumnElement, and_, bindparam, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session as DatabaseSession
from sqlalchemy.sql.dml import ReturningUpdate
from uuid_utils.compat import uuid7

from core.clock import Clock, born_at, rfc3339
from core.errors import (
    LoginRequired,
    NotOwner,
    SessionExpired,
    SessionInvalid,
    SwitchboardError,
    TooManySessions,
    UnknownModel,
    VersionConflict,
)
from core.secret import digests_match
from core.sessions import listing
from core.sessions.arguments import (
    parse_session_id,
    parse_user_id,
    require_model_name,
    require_new_secret_hash,
    require_secret_hash,
    require_version,
)
from core.sessions.credential import Credential
from core.sessions.lifetime import Lifetime
from core.sessions.listing import LAST_END, Place
from core.sessions.title import title_from
from core.stores.among import among
from core.stores.tables import MessageWords, Session, User

MAX_LOOKS = 2
"""How often a row is read before what was decided on it is written. A write that finds it changed holds SQLite's lock
from then on, so that the second look is at the last state; on PostgreSQL the first one locks the row."""

NO_ACCOUNT = "There is no such account, or not any more."
"""Which of the two is unknown: a user may also have been added and not flushed yet, with `autoflush=False`."""


class Models(Protocol):
    """The models on offer, as far as sessions are concerned; ClientPool is one."""

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


MAX_BACKLOG = 10_000
"""Expired sessions that are counted: more are shown as so many."""


@dataclass(frozen=True)
class Backlog:
    """The sessions that have expired and are still there."""

    count: int
    oldest: timedelta
    """How long ago the first of them has expired; nothing when there is none."""


EPHEMERAL = Lifetime(idle=timedelta(minutes=2), absolute=timedelta(hours=3))
"""Of sessions for a single request. They are extended while somebody waits for the answer, so that little stays, and
not for long, of one whose front end has died. No answer takes longer than the whole."""


@dataclass(frozen=True)
class SessionRules:
    """The configured values that sessions are subject to."""

    anonymous: Lifetime
    owned: Lifetime
    max_per_user: int
    """Living sessions that one user may have, created or claimed."""
    ephemeral: Lifetime = EPHEMERAL


class Ending(NamedTuple):
    """What has to be known of a session that is about to be deleted."""

    id: UUID
    owner_id: UUID | None
    ephemeral: bool


@dataclass(frozen=True)
class NewSession:
    """A session that is to be created: an owner's, or an anonymous one that a secret proves."""

    id: UUID
    owner_id: UUID | None
    secret_hash: bytes | None
    model: str | None
    """None for the default one."""
    ephemeral: bool = False
    """Whether it is a user's for a single request. It does not count among the user's sessions."""

    @property
    def anonymous(self) -> bool:
        """Whether the session has no owner."""
        return self.owner_id is None


class SessionService:
    """Sessions and the rules about them. An ordinary object, given its collaborators."""

    def __init__(self, models: Models, rules: SessionRules, clock: Clock) -> None:
        self._models = models
        self._rules = rules
        self._clock = clock

    def require_room(self, user_id: UUID, db_session: DatabaseSession, session_id: UUID | None = None) -> None:
        """Raise TooManySessions when the user has as many living sessions, besides the one of this id, as one may
        have."""
        living = select(func.count()).where(
            Session.owner_id == user_id, Session.expires_at > self._clock.now(), Session.ephemeral.is_(False)
        )
        if session_id is not None:
            living = living.where(Session.id != session_id)
        if (db_session.scalar(living) or 0) >= self._rules.max_per_user:
            raise TooManySessions(self._rules.max_per_user)

    def create_session(
        self,
        db_session: DatabaseSession,
        user_id: UUID | str | None = None,
        *,
        session_id: UUID | str | None = None,
        secret_hash: bytes | None = None,
        model: str | None = None,
    ) -> Session:
        """Create a session, owned by `user_id` or anonymous, on `model` or the default one.

        An anonymous session is proved by a secret: the one whose `secret_hash` is given, or else a new one, which
        the returned row has as `issued_secret` and which is stored nowhere.
        Idempotent by `session_id`: a second call with the same id and proof returns the first one's row.
        Raises UnknownModel, TooManySessions, SessionInvalid when the id is none or is taken by a session with another
        proof, LoginRequired for an account that does not exist (any more), ValueError for an owner and a secret at
        once or a hash of the wrong length, or TypeError.
        """
        owner_id = parse_user_id(user_id)
        key, issued_secret = uuid7() if session_id is None else parse_session_id(session_id), None
        if owner_id is None and secret_hash is None:
            credential = Credential.issue(key)
            secret_hash, issued_secret = credential.secret_hash, credential.secret
        (session,) = self.create_sessions([NewSession(key, owner_id, secret_hash, model)], db_session)
        if isinstance(session, SwitchboardError):
            raise session
        # A repeat may return the object that an earlier call has handed out with its secret.
        issued_secret = issued_secret or session.issued_secret
        opens = Credential(session.id, issued_secret).secret_hash == session.secret_hash
        session.issued_secret = issued_secret if opens else None
        return session

    def create_sessions(
        self, wanted: Sequence[NewSession], db_session: DatabaseSession
    ) -> list[Session | SwitchboardError]:
        """Create sessions together: for each, in their order, what `create_session` would return or raise.

        The number of statements does not depend on how many there are. Raises ValueError or TypeError, and creates
        none, when one has arguments that can't be.
        """
        for new in wanted:
            _require_possible(new)
        refused = self._refuse(wanted, db_session)
        rows = [self._row(new) for new in wanted if new not in refused]
        created = _insert_new(db_session, rows) if rows else {}
        return [refused[new] if new in refused else _created_as(new, created.get(new.id)) for new in wanted]

    def begin_session(self, session: Session | NewSession, message: str, db_session: DatabaseSession) -> Session:
        """The session that a question goes to, as it is now and locked, with the message noted; a new one is stored
        with its question. Raises what `note_message` raises, and LoginRequired or UnknownModel for a new one."""
        if isinstance(session, Session):
            if not session.words_in_redis:
                self._require_unexpired(session)
                return self.note_message(session, message, db_session)  # always a write, and so a lock
            return self.note_message(self.lock_living(session.id, db_session), message, db_session)
        (stored,) = self.create_sessions([session], db_session)
        if isinstance(stored, SwitchboardError):
            raise stored
        return self.note_message(stored, message, db_session)

    def validate_session(
        self,
        session_id: UUID | str,
        db_session: DatabaseSession,
        user_id: UUID | str | None = None,
        require_valid: bool = False,
        *,
        secret_hash: bytes | None = None,
    ) -> Session | None:
        """The session, if it lives and the caller has proved to be its holder; never writes.

        An owned session is proved by `user_id`, an anonymous one by the hash of its secret. Otherwise None,
        or with `require_valid` the reason: SessionInvalid, NotOwner or SessionExpired. Raises ValueError for
        a malformed `user_id`, or TypeError, in any case.
        """
        owner_id = parse_user_id(user_id)
        require_secret_hash(secret_hash)
        try:
            session = self._get(session_id, db_session)
            return self.require_held(session, session.id, owner_id, secret_hash)
        except SwitchboardError:
            if require_valid:
                raise
            return None

    def require_held(
        self, session: Session | None, session_id: UUID, user_id: UUID | None, secret_hash: bytes | None
    ) -> Session:
        """The session that was read under this id, with what its holder is known by, if it is valid as
        `validate_session` has it. Raises SessionInvalid, NotOwner or SessionExpired."""
        if session is None or session.ephemeral:
            raise self._missing(session_id)
        _check_holder(session, user_id, secret_hash)
        self._require_unexpired(session)
        return session

    def extend_session(self, session_id: UUID | str, db_session: DatabaseSession) -> datetime:
        """Count this moment as activity and return when the session expires now.

        Never beyond the absolute lifetime; writes only a noticeable move. The caller has validated the
        session. Raises SessionInvalid or SessionExpired.
        """
        for _ in range(MAX_LOOKS):
            session = self.lock_living(session_id, db_session)
            noted = self._note(session, db_session)
            if noted is not None:
                return noted.expires_at
        return session.expires_at  # others have counted the same moment

    def lock_living(self, session_id: UUID | str, db_session: DatabaseSession) -> Session:
        """The session as it is now; its row is locked, so that a claim of the same session goes before or after the
        transaction, never in between. Raises SessionInvalid or SessionExpired."""
        session = self._get(session_id, db_session, for_update=True)
        self._require_unexpired(session)
        return session

    def note_message(self, session: Session, message: str, db_session: DatabaseSession) -> Session:
        """Count a message as activity, and give an owned session that has no title yet one from it; the session as
        it is then. The caller has locked the row, or an owned session's has just been read. Writes only what changes
        noticeably, which an owned session's time does each time.

        Raises SessionInvalid, SessionExpired or NotOwner when the row was not locked, as on a plain SQLite engine,
        and the session has changed hands or ended meanwhile.
        """
        proof = session.owner_id, session.secret_hash
        for _ in range(MAX_LOOKS):
            changes: dict[str, Any] = {} if session.words_in_redis else {"last_active_at": self._clock.now()}
            title = None if session.words_in_redis or session.title else title_from(message)
            noted = self._note(session, db_session, **changes, **({"title": title} if title else {}))
            if noted is not None:
                return noted
            session = self.lock_living(session.id, db_session)
            _check_holder(session, *proof)
        return session

    def switch_model(
        self,
        session_id: UUID | str,
        new_model: str,
        db_session: DatabaseSession,
        user_id: UUID | str | None = None,
        *,
        version: int | None = None,
        command_id: UUID | None = None,
    ) -> Session:
        """Make `new_model` the session's model from the next message on.

        With `version`, of any number of callers that hold the same version exactly one succeeds. With `command_id`,
        a switch that has been made is not made again: its repeat returns the session. The holder of an anonymous
        session has been validated by its secret before; here it must have no owner.
        Raises UnknownModel, NotOwner, SessionInvalid, SessionExpired, VersionConflict (also for a number that no
        version can be), ValueError for a malformed `user_id`, or TypeError.
        """
        owner_id = parse_user_id(user_id)
        require_version(version)
        require_model_name(new_model)
        self._models.require(new_model)
        for _ in range(MAX_LOOKS):
            # Locked: of two deliveries of one command the second sees what the first has done.
            session = self._get(session_id, db_session, for_update=True)
            if session.owner_id != owner_id:
                raise NotOwner
            self._require_unexpired(session)
            if command_id is not None and session.last_command == command_id:
                return session
            if version not in (None, session.version):
                raise VersionConflict  # without asking the database: the number may be too great for its column
            switched = _update(
                db_session,
                self._is_switchable(session, version, command_id),
                last_model=new_model,
                version=Session.version + 1,
                last_command=command_id,
            )
            if switched is not None:
                return switched
        raise VersionConflict

    def _is_switchable(self, session: Session, version: int | None, command_id: UUID | None) -> ColumnElement[bool]:
        """What a switch was decided on: the database decides between racers, not what was read."""
        conditions = [is_held_as(session), Session.expires_at > self._clock.now()]
        if version is not None:  # without one of the caller's own, whatever is current is meant
            conditions.append(Session.version == version)
        if command_id is not None:
            conditions.append(Session.last_command.is_distinct_from(command_id))
        return and_(*conditions)

    def get_current_model(self, session_id: UUID | str, db_session: DatabaseSession) -> str:
        """The model that the next message goes to: the last one chosen or, when that has been retired, its
        fallback; the stored choice stays. Raises SessionInvalid or SessionExpired."""
        session = self._get(session_id, db_session)
        self._require_unexpired(session)
        return self.model_of(session)

    def model_of(self, session: Session) -> str:
        """The model that the next message of a session goes to, if it is still as it was read."""
        return self._models.offered(session.last_model)

    def claim_session(
        self,
        session_id: UUID,
        db_session: DatabaseSession,
        user_id: UUID,
        *,
        secret_hash: bytes,
        leaf: tuple[UUID, UUID] | None = None,
        settings: Mapping[str, Any] | None = None,
        last_active_at: datetime | None = None,
    ) -> Session:
        """Give an anonymous session to the user who also holds its secret; the secret is worth nothing after. It
        begins its owned life with these settings, as `change_settings` takes them, with this last activity, and on
        the branch that `leaf` ends, as `turn_to` takes it with the newest message.

        Of any number of claimants one wins. Raises SessionInvalid, SessionExpired, NotOwner, TooManySessions,
        LoginRequired, or TypeError for a hash that is not bytes.
        """
        require_secret_hash(secret_hash)
        self._lock_room(user_id, session_id, db_session)
        now = self._clock.now()
        ends_at = self._rules.owned.ends(now)
        claimed = _update(
            db_session,
            and_(
                Session.id == session_id,
                Session.owner_id.is_(None),
                Session.secret_hash == secret_hash,
                Session.expires_at > now,
            ),
            owner_id=user_id,
            secret_hash=None,
            version=Session.version + 1,
            expires_at=self._rules.owned.expiry(now, ends_at),
            ends_at=ends_at,
            last_active_at=last_active_at,
            leaf_id=leaf and leaf[0],
            leaf_since=leaf and leaf[1],
            **(settings or {}),
        )
        if claimed is None:
            self.validate_session(session_id, db_session, require_valid=True, secret_hash=secret_hash)
            raise SessionInvalid
        return claimed

    def list_sessions(
        self, user_id: UUID, db_session: DatabaseSession, *, before: Place | None = None, limit: int = 50
    ) -> Sequence[Session]:
        """A user's living sessions, last active first, without their instructions; with `before`, those after that
        place."""
        values = listing.parameters(user_id, self._clock.now(), before, limit)
        as_it_is_now = {"populate_existing": True}
        return db_session.scalars(listing.PLAIN[before is not None], values, execution_options=as_it_is_now).all()

    def mark_read(self, session_id: UUID, until: datetime, db_session: DatabaseSession) -> bool:
        """An owned session's answers that have ended until then have been read; whether that is news."""
        return _mark_read(_READ_UNTIL, db_session, session=session_id, until=until) is not None

    def mark_all_read(self, session_id: UUID, db_session: DatabaseSession) -> UUID | None:
        """All answers of a listed session that have ended by now have been read; its owner, if that is news."""
        return _mark_read(_READ_ALL, db_session, session=session_id)

    def change_settings(self, session_id: UUID, changes: Mapping[str, Any], db_session: DatabaseSession) -> Session:
        """Set an owned session's `title`, `system_prompt`, `temperature` or `client_metadata`, those that are named;
        None: as if it had never been set. The caller has validated the session, and bounded the values.

        Raises NotOwner for an anonymous one: its settings would be words in the database. Raises SessionInvalid or
        SessionExpired when the session is gone.
        """
        changed = _update(db_session, and_(Session.id == session_id, Session.owner_id.is_not(None)), **changes)
        if changed is None:
            self._get(session_id, db_session)
            raise NotOwner("An anonymous session's settings are in Redis.")
        return changed

    def untitle_session(self, session_id: UUID, db_session: DatabaseSession) -> None:
        """Remove the title of an owned session, after its first message has been retracted."""
        _update(db_session, Session.id == session_id, title=None)
        db_session.execute(delete(MessageWords).where(MessageWords.document_id == session_id))

    def turn_to(self, session_id: UUID, leaf: UUID, newest: UUID, db_session: DatabaseSession) -> None:
        """Make the branch that ends with `leaf` an owned session's current one, until something is written that is
        newer than `newest`, its newest message. The caller has locked the row, and found both among its messages."""
        _update(
            db_session,
            and_(Session.id == session_id, Session.owner_id.is_not(None)),
            leaf_id=leaf,
            leaf_since=newest,
        )

    def lock_held(self, session: Session, db_session: DatabaseSession) -> bool:
        """Lock the row of a session that was validated before; whether it is still there.

        Raises NotOwner when it has been claimed since: it is no longer the validated holder's.
        """
        if db_session.scalar(select(Session.id).where(is_held_as(session)).with_for_update()) is not None:
            return True
        current = db_session.get(Session, session.id, populate_existing=True)
        if current is not None:
            _check_holder(current, session.owner_id, session.secret_hash)
        return False

    def find_expired(
        self,
        db_session: DatabaseSession,
        limit: int,
        *,
        since: datetime | None = None,
        excluding: Collection[UUID] = (),
    ) -> Sequence[tuple[UUID, datetime]]:
        """Up to `limit` expired sessions, those that expired first, with the moments at which they did; with `since`,
        none from before it."""
        expired = select(Session.id, Session.expires_at).where(
            Session.expires_at <= self._clock.now(), Session.id.not_in(excluding)
        )
        if since is not None:
            expired = expired.where(Session.expires_at >= since)
        return db_session.connection().execute(expired.order_by(Session.expires_at).limit(limit)).all()

    def backlog(self, db_session: DatabaseSession) -> Backlog:
        """What the sweep has still to delete."""
        now = self._clock.now()
        expired = select(Session.expires_at).where(Session.expires_at <= now).order_by(Session.expires_at)
        some = expired.limit(MAX_BACKLOG).subquery()
        count, first = db_session.execute(select(func.count(), func.min(some.c.expires_at))).one()
        return Backlog(count, now - first if first else timedelta())

    def lock_expired(
        self, db_session: DatabaseSession, limit: int = 500, *, ids: Collection[UUID] | None = None
    ) -> Sequence[Ending]:
        """Up to `limit` expired sessions, locked; two sweeps at once get different ones. With `ids`, of these."""
        expired = select(Session.id, Session.owner_id, Session.ephemeral).where(
            Session.expires_at <= self._clock.now()
        )
        if ids is not None:
            expired = expired.where(among(Session.id, ids, db_session))
        expired = expired.order_by(Session.expires_at).limit(limit).with_for_update(skip_locked=True)
        # Past the ORM, which takes as long again: no entity is wanted, and a sweep has millions.
        return [Ending._make(row) for row in db_session.connection().execute(expired).all()]

    def delete_sessions(self, session_ids: Collection[UUID], db_session: DatabaseSession) -> None:
        """Delete the rows and what hangs on them. The caller has validated, or locked, the sessions."""
        mine = delete(Session).where(among(Session.id, session_ids, db_session))
        # Past the ORM: nobody looks for them in this database session.
        db_session.connection().execute(mine)

    def describe(self, session: Session) -> dict[str, Any]:
        """The session as the wire has it."""
        return {
            "session_id": str(session.id),
            "anonymous": session.anonymous,
            "model": self.model_of(session),
            "version": session.version,
            "created_at": rfc3339(session.created_at),
            "expires_at": rfc3339(session.expires_at),
        }

    def _refuse(
        self, wanted: Sequence[NewSession], db_session: DatabaseSession
    ) -> dict[NewSession, SwitchboardError]:
        """Those that can't be created, and why. The room for the others is held until the end of the transaction."""
        refused: dict[NewSession, SwitchboardError] = {}
        for new in wanted:
            if new.model is not None and (unknown := self._unknown_model(new.model)):
                refused[new] = unknown
        possible = [new for new in wanted if new not in refused]
        if any(new.owner_id is not None for new in possible):
            refused |= self._refuse_without_room(possible, db_session)
        return refused

    def _refuse_without_room(
        self, wanted: Sequence[NewSession], db_session: DatabaseSession
    ) -> dict[NewSession, SwitchboardError]:
        owned = [new for new in wanted if new.owner_id is not None]
        in_use = _lock_users({new.owner_id for new in owned if new.owner_id is not None}, db_session)
        living = and_(
            Session.owner_id.in_(in_use), Session.expires_at > self._clock.now(), Session.ephemeral.is_(False)
        )
        count = select(Session.owner_id, func.count()).where(living).group_by(Session.owner_id)
        counts = Counter(dict(db_session.execute(count).all()))
        # Nothing is created under an id that is taken, so that it needs no room: a repeat, or another's.
        taken = set(db_session.scalars(select(Session.id).where(Session.id.in_([new.id for new in owned]))))
        refused: dict[NewSession, SwitchboardError] = {}
        for new in wanted:
            if new.owner_id is not None and new.owner_id not in in_use:
                refused[new] = LoginRequired(NO_ACCOUNT)
            elif new.id in taken or new.ephemeral:
                continue
            elif new.owner_id is not None and counts[new.owner_id] >= self._rules.max_per_user:
                refused[new] = TooManySessions(self._rules.max_per_user)
            else:
                counts[new.owner_id] += 1
                taken.add(new.id)
        return refused

    def _unknown_model(self, name: str) -> UnknownModel | None:
        try:
            self._models.require(name)
        except UnknownModel as error:
            return error
        return None

    def _row(self, new: NewSession) -> dict[str, Any]:
        now = self._clock.now()
        lifetime = self._lifetime(new.owner_id, ephemeral=new.ephemeral)
        ends_at = lifetime.ends(now)
        return {
            "id": new.id,
            "owner_id": new.owner_id,
            "secret_hash": new.secret_hash,
            "last_model": self._models.default if new.model is None else new.model,
            "version": 1,
            "created_at": now,
            "expires_at": lifetime.expiry(now, ends_at),
            "ends_at": ends_at,
            "ephemeral": new.ephemeral,
        }

    def _lock_room(self, user_id: UUID, session_id: UUID, db_session: DatabaseSession) -> None:
        """Hold the user's room for this session until the end of the transaction."""
        if not _lock_user(user_id, db_session):
            raise LoginRequired(NO_ACCOUNT)
        self.require_room(user_id, db_session, session_id)

    def _note(self, session: Session, db_session: DatabaseSession, **changes: Any) -> Session | None:
        """Count this moment as activity of a session, and change more; the session as it is then, or None when it is
        no longer as it was read."""
        lifetime = self._lifetime(session.owner_id, ephemeral=session.ephemeral)
        extended = lifetime.extension(self._clock.now(), session.expires_at, session.ends_at)
        if extended is not None:
            changes["expires_at"] = extended
        if not changes:
            return session
        as_read = {
            "of_id": session.id,
            "of_owner": session.owner_id,
            "of_secret": session.secret_hash,
            "read_expiry": session.expires_at,
            "read_title": session.title,
        }
        return _returned(_noting(*sorted(changes)), db_session, **as_read, **_new(changes))

    def _lifetime(self, owner_id: UUID | None, *, ephemeral: bool) -> Lifetime:
        if ephemeral:
            return self._rules.ephemeral
        return self._rules.anonymous if owner_id is None else self._rules.owned

    def _require_unexpired(self, session: Session) -> None:
        if session.expires_at <= self._clock.now():
            raise SessionExpired

    def _get(self, session_id: UUID | str, db_session: DatabaseSession, *, for_update: bool = False) -> Session:
        """The row, expired or not. Raises SessionInvalid or SessionExpired when there is none."""
        key = parse_session_id(session_id)
        session = db_session.scalar(_LOCKED if for_update else _BY_ID, {"id": key})
        if session is None:
            raise self._missing(key)
        return session

    def _missing(self, session_id: UUID) -> SwitchboardError:
        """Expired sessions are swept away without a trace, yet their holders deserve to be told apart from
        forgers: a UUIDv7 carries its birth, and one born so long ago that it must have expired says so."""
        if session_id.version != 7:
            return SessionInvalid()
        age = self._clock.now() - born_at(session_id)
        longest = max(self._rules.anonymous.absolute, self._rules.owned.absolute)
        swept = self._rules.anonymous.idle <= age <= 2 * longest
        return SessionExpired() if swept else SessionInvalid()


# Put together once, which takes as long as running them.
_BY_ID = select(Session).where(Session.id == bindparam("id")).execution_options(populate_existing=True)
_LOCKED = _BY_ID.with_for_update()


def is_held_as(session: Session) -> ColumnElement[bool]:
    """The row of this session, as long as the same proof opens it as when it was read."""
    return and_(
        Session.id == session.id,
        Session.owner_id.is_not_distinct_from(session.owner_id),
        Session.secret_hash.is_not_distinct_from(session.secret_hash),
    )


def _check_holder(session: Session, user_id: UUID | None, secret_hash: bytes | None) -> None:
    if session.owner_id is not None:
        if session.owner_id != user_id:
            raise NotOwner
        return
    if secret_hash is None or not digests_match(secret_hash, session.secret_hash or b""):
        raise SessionInvalid


def _require_possible(new: NewSession) -> None:
    """Raise ValueError or TypeError for what no session can have."""
    require_new_secret_hash(new.secret_hash)
    if (new.owner_id is None) == (new.secret_hash is None):
        raise ValueError("a session has an owner or a secret, not both")
    if new.ephemeral and new.owner_id is None:
        raise ValueError("a session for a single request has an owner")
    require_model_name(new.model)


def _created_as(new: NewSession, row: Session | None) -> Session | SwitchboardError:
    """The row, if it is the one that was wanted, made now or before."""
    if row is None or (row.owner_id, row.secret_hash) != (new.owner_id, new.secret_hash):
        return SessionInvalid("This session id is taken.")
    return row


# No savepoint around a plain INSERT: where Python's driver has not begun a transaction on SQLite, releasing the
# savepoint commits.
_INSERTS = {
    dialect: insert(Session).on_conflict_do_nothing(index_elements=["id"]).returning(Session)
    for dialect, insert in (("sqlite", sqlite.insert), ("postgresql", postgresql.insert))
}


def _insert_new(db_session: DatabaseSession, rows: Sequence[Mapping[str, Any]]) -> Mapping[UUID, Session]:
    """Insert those rows whose ids are not taken, and return the rows of all ids."""
    # By id, so that two transactions with the same ids never wait for each other; with NULLs, or owned and anonymous
    # rows would be inserted by turns.
    ordered = sorted(rows, key=itemgetter("id"))
    insert = _INSERTS[db_session.get_bind(Session).dialect.name]
    # The database session may have read rows of these ids that have been deleted since.
    options = {"render_nulls": True, "populate_existing": True}
    inserted = db_session.scalars(insert, ordered, execution_options=options)
    found = {session.id: session for session in inserted}
    if taken := {row["id"] for row in rows} - found.keys():
        existing = select(Session).where(Session.id.in_(taken)).execution_options(populate_existing=True)
        found |= {session.id: session for session in db_session.scalars(existing)}
    return found


@cache
def _noting(*changed: str) -> ReturningUpdate[Session]:
    """The statement that changes these columns of a session if it is as it was read. Put together once: that takes
    longer than running it."""
    as_read = and_(
        Session.id == bindparam("of_id"),
        Session.owner_id.is_not_distinct_from(bindparam("of_owner")),
        Session.secret_hash.is_not_distinct_from(bindparam("of_secret")),
        Session.expires_at == bindparam("read_expiry"),
        Session.title.is_not_distinct_from(bindparam("read_title")),
    )
    return (
        update(Session).where(as_read).values({name: bindparam(f"new_{name}") for name in changed}).returning(Session)
    )


def _new(changes: Mapping[str, Any]) -> Mapping[str, Any]:
    return {f"new_{name}": value for name, value in changes.items()}


def _update(db_session: DatabaseSession, where: ColumnElement[bool], **values: Any) -> Session | None:
    """Update the one row that meets the condition, and return it as it is now; None when none does."""
    return _returned(update(Session).where(where).values(**values).returning(Session), db_session)


def _returned(change: ReturningUpdate[Session], db_session: DatabaseSession, **parameters: Any) -> Session | None:
    # A row that the database session has read before gets the new values too.
    options = {"synchronize_session": False, "populate_existing": True}
    return db_session.scalar(change, parameters, execution_options=options)


def _marking(end: ColumnElement[Any], *conditions: ColumnElement[bool]) -> ReturningUpdate[UUID]:
    """The statement that marks an owned session as read until `end`, if it is not yet."""
    unread = func.coalesce(Session.read_until, datetime.fromtimestamp(0, UTC)) < end
    mine = and_(Session.id == bindparam("session"), Session.owner_id.is_not(None))
    return update(Session).where(mine, unread, *conditions).values(read_until=end).returning(Session.owner_id)


_READ_UNTIL = _marking(bindparam("until", type_=Session.read_until.type))
_READ_ALL = _marking(LAST_END, Session.ephemeral.is_(False))


def _mark_read(marking: ReturningUpdate[UUID], db_session: DatabaseSession, **parameters: Any) -> UUID | None:
    # Past the ORM, which takes as long again: no row of it is wanted.
    owner: UUID | None = db_session.connection().execute(marking, parameters).scalar()
    return owner


def _lock_users(user_ids: Collection[UUID], db_session: DatabaseSession) -> Collection[UUID]:
    """Those of the accounts that are in use; they stay so until the end of the transaction."""
    if len(user_ids) == 1:
        (user_id,) = user_ids
        return [user_id] if _lock_user(user_id, db_session) else []
    # By id, so that two transactions never wait for each other. SQLite has no such lock, and only one writer.
    among = select(User.id).where(User.id.in_(user_ids)).order_by(User.id).with_for_update(key_share=True)
    db_session.execute(among)
    return db_session.scalars(_lock(User.id.in_(user_ids)), execution_options={"synchronize_session": False}).all()


def _lock_user(user_id: UUID, db_session: DatabaseSession) -> bool:
    """Whether the account is in use; if it is, it stays so until the end of the transaction.

    The lock is for one at a time: of two transactions that each see room for one more session, one looks again.
    """
    locked = db_session.scalar(_lock(User.id == user_id), execution_options={"synchronize_session": False})
    return locked is not None


def _lock(which: ColumnElement[bool]) -> ReturningUpdate[UUID]:
    # A write that changes nothing, since SQLite has no FOR UPDATE. It is not of the key, so that on PostgreSQL rows
    # that refer to the user, such as a login, can be added meanwhile.
    lock = update(User).where(which, User.deleted_at.is_(None)).values(created_at=User.created_at)
    return lock.returning(User.id)
