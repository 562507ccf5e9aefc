"""Identity: whom a credential speaks for. What people do with their accounts is in accounts.py."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from uuid_utils.compat import uuid7

from core.auth.api_keys import PREFIX, ApiKeys, KeyCredential
from core.auth.logins import LoginCredential, Logins
from core.auth.oidc import Subject, Tokens
from core.auth.principal import Principal
from core.clock import Clock
from core.errors import TokenInvalid
from core.stores.database import Database
from core.stores.tables import User


class Identity:
    """Turns proofs into principals."""

    def __init__(
        self, database: Database, logins: Logins, keys: ApiKeys, tokens: Tokens | None, clock: Clock
    ) -> None:
        self._database = database
        self._logins = logins
        self._keys = keys
        self._tokens = tokens
        """None: no issuer is configured."""
        self._clock = clock

    def principal_for_login(self, credential: LoginCredential) -> Principal:
        """The user of a login cookie. Counts as use of the login; writes only what is noticeable.

        Raises LoginInvalid.
        """
        with self._database.reading() as db:
            login = self._logins.find(credential, db)
        extended = self._logins.extension(login)
        if extended is not None:
            with self._database.writing() as db:
                self._logins.extend(login.id, extended, db)
        return Principal(login.user_id, "login", login_id=login.id)

    def principal_for_bearer(self, token: str) -> Principal:
        """The user of an API key or of an issuer's token. Raises TokenInvalid."""
        if token.startswith(PREFIX):
            return self._principal_for_key(KeyCredential.parse(token))
        if self._tokens is None:
            raise TokenInvalid
        subject = self._tokens.verify(token)
        return Principal(self.user_for_subject(subject), "oidc", expires_at=subject.expires_at)

    def user_for_subject(self, subject: Subject) -> UUID:
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

    def _principal_for_key(self, credential: KeyCredential) -> Principal:
        with self._database.reading() as db:
            key = self._keys.find(credential, db)
        if self._keys.use_is_noticeable(key):
            with self._database.writing() as db:
                self._keys.note_use(key.id, db)
        return Principal(key.user_id, "api-key", key_id=key.id)


def _in_use(user: User) -> UUID:
    if user.deleted_at is not None:
        raise TokenInvalid("This account has been deleted.")
    return user.id
