"""Identity: whom a credential speaks for. What people do with their accounts is in accounts.py."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import Select, bindparam, select
from sqlalchemy.exc import IntegrityError
from uuid_utils.compat import uuid7

from core.auth.api_keys import PREFIX, ApiKeys, KeyCredential
from core.auth.logins import LoginCredential, Logins
from core.auth.principal import Principal
from core.clock import Clock
from core.errors import SwitchboardError, TokenInvalid
from core.sessions.credential import Credential
from core.sessions.service import SessionService
from core.stores.database import Database
from core.stores.tables import ApiKey, Login, Session, User

Proof = TypeVar("Proof", Login, ApiKey)

if TYPE_CHECKING:
    from core.auth.oidc import Subject, Tokens


class Identified(NamedTuple):
    """A user, and what became of the session that was named with the user's credential."""

    principal: Principal
    session: Session | SwitchboardError | None
    """The living session that the two prove to hold, or why it is refused. None: none was named."""


class Identity:
    """Turns proofs into principals."""

    def __init__(
        self,
        database: Database,
        sessions: SessionService,
        logins: Logins,
        keys: ApiKeys,
        tokens: "Tokens | None",
        clock: Clock,
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._logins = logins
        self._keys = keys
        self._tokens = tokens
        """None: no issuer is configured."""
        self._clock = clock

    def principal_for_login(self, credential: LoginCredential) -> Principal:
        """The user of a login cookie. Counts as use of the login; writes only what is noticeable.

        Raises LoginInvalid.
        """
        return self.identify_login(credential, None).principal

    def principal_for_bearer(self, token: str) -> Principal:
        """The user of an API key or of an issuer's token. Raises TokenInvalid."""
        return self.identify_bearer(token, None).principal

    def identify_login(self, credential: LoginCredential, named: Credential | None) -> Identified:
        """As `principal_for_login`, and the session that is named with it, in one transaction."""
        found, session = self._read(Login, credential.login_id, named)
        login = self._logins.require_proved(found, credential)
        extended = self._logins.extension(login)
        if extended is not None:
            with self._database.writing() as db:
                self._logins.extend(login.id, extended, db)
        principal = Principal(login.user_id, "login", login_id=login.id)
        return Identified(principal, self._validated(session, named, login.user_id))

    def identify_bearer(self, token: str, named: Credential | None) -> Identified:
        """As `principal_for_bearer`, and the session that is named with it."""
        if token.startswith(PREFIX):
            return self._identify_key(KeyCredential.parse(token), named)
        if self._tokens is None:
            raise TokenInvalid
        subject = self._tokens.verify(token)
        principal = Principal(self.user_for_subject(subject), "oidc", expires_at=subject.expires_at)
        if named is None:
            return Identified(principal, None)
        with self._database.reading() as db:
            session = db.get(Session, named.session_id)
        return Identified(principal, self._validated(session, named, principal.user_id))

    def user_for_subject(self, subject: "Subject") -> UUID:
        """The user that an issuer's subject is; made on first sight.

        The two together are the identity (OpenID Connect Core 1.0, 5.7). An e-mail address in the token is not:
        a person who can have it written there must not get the account of that name. Raises TokenInvalid while the
        account is being removed.
        """
        known = select(User).where(User.oidc_issuer == subject.issuer, User.oidc_subject == subject.subject)
        with self._database.reading() as db:
            found = db.scalar(known)
        if found is not None:
            return _in_use(found)
        user = User(
            id=uuid7(), oidc_issuer=subject.issuer, oidc_subject=subject.subject, created_at=self._clock.now()
        )
        try:
            with self._database.writing() as db:
                db.add(user)
            return user.id
        except IntegrityError:  # another request was first
            with self._database.reading() as db:
                return _in_use(db.scalars(known).one())

    def _identify_key(self, credential: KeyCredential, named: Credential | None) -> Identified:
        found, session = self._read(ApiKey, credential.key_id, named)
        key = self._keys.require_proved(found, credential)
        if self._keys.use_is_noticeable(key):
            with self._database.writing() as db:
                self._keys.note_use(key.id, db)
        principal = Principal(key.user_id, "api-key", key_id=key.id)
        return Identified(principal, self._validated(session, named, key.user_id))

    def _read(
        self, kind: type[Proof], proof_id: UUID, named: Credential | None
    ) -> tuple[Proof | None, Session | None]:
        """What a user is known by, and the session that is named with it, as they are stored; with the user's own
        limits, which a question in the session is subject to."""
        ids = {"proof": proof_id, "session": named and named.session_id}
        with self._database.reading() as db:
            found = db.execute(_WITH_SESSION[kind], ids).one_or_none()
        if found is None:
            return None, None
        proof, session, limits = found
        if session is not None and session.owner_id == proof.user_id:
            session.owner_limits = limits or {}
        return proof, session

    def _validated(
        self, session: Session | None, named: Credential | None, user_id: UUID
    ) -> Session | SwitchboardError | None:
        if named is None:
            return None
        try:
            return self._sessions.require_held(session, named.session_id, user_id, named.secret_hash)
        except SwitchboardError as refused:
            return refused


_WITH_SESSION: Mapping[type[Login | ApiKey], Select[Any, Session | None, Mapping[str, str] | None]] = {
    kind: select(kind, Session, User.limits)
    .join(User, User.id == kind.user_id)
    .outerjoin(Session, Session.id == bindparam("session"))
    .where(kind.id == bindparam("proof"))
    for kind in (Login, ApiKey)
}


def _in_use(user: User) -> UUID:
    if user.deleted_at is not None:
        raise TokenInvalid("This account has been deleted.")
    return user.id
