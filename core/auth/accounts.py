"""Accounts: what people do with theirs. Registering, logging in and out, passwords, keys, the end.

Hashing takes long and happens outside of transactions; so each that follows one checks again, under a lock on
the user's row, that the password is still the one that was verified.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as DatabaseSession
from uuid_utils.compat import uuid7

from core.auth.api_keys import ApiKeys, KeyCredential
from core.auth.devices import Device
from core.auth.email_address import normal_address
from core.auth.logins import SWEEP_BATCH, LoginCredential, Logins
from core.auth.passwords import Passwords
from core.auth.principal import Principal
from core.clock import Clock
from core.errors import (
    EmailTaken,
    InvalidBody,
    LoginFailed,
    LoginInvalid,
    LoginRequired,
    NoPassword,
    RegistrationClosed,
    Unavailable,
    UnknownKey,
    UnknownLogin,
)
from core.messaging.revocations import Revocations
from core.operations.audit import Audit, Kind
from core.sessions.sweep import Sweeper
from core.stores.database import Database
from core.stores.tables import ApiKey, Login, User

__all__ = ["Accounts", "ApiKey", "LoggedIn", "Login", "User"]


@dataclass(frozen=True)
class LoggedIn:
    """A user that has just logged in, and what their browser proves it with from now on."""

    user: User
    credential: LoginCredential
    device: Device
    """What the browser is known by at its next log-in."""


class Accounts:
    """Everything that people do with their accounts. An ordinary object, given its collaborators.

    What ends a login says so to the streams that it has opened (core/messaging/revocations.py). Where the browser
    gets a new one in its place, the caller does that, once the browser has it.
    """

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        logins: Logins,
        keys: ApiKeys,
        sweeper: Sweeper,
        revocations: Revocations,
        audit: Audit,
        clock: Clock,
        *,
        registration_open: bool,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._logins = logins
        self._keys = keys
        self._sweeper = sweeper
        self._revocations = revocations
        self._audit = audit
        self._clock = clock
        self._registration_open = registration_open

    def register(self, email: str, password: str, before: LoginCredential | None = None) -> LoggedIn:
        """Make an account and log in; `before` is the browser's login until now, which ends.

        Raises RegistrationClosed, InvalidBody, PasswordRefused, EmailTaken or Unavailable. EmailTaken tells that
        somebody has an account; only a mail to them could avoid that, and none is sent here. The limit on logins
        counts registrations too, so that it tells little.
        """
        if not self._registration_open:
            raise RegistrationClosed
        user = User(id=uuid7(), email=normal_address(email), created_at=self._clock.now())
        self._passwords.check(password)
        user.password_hash = self._passwords.hash(password)
        try:
            with self._database.writing() as db:
                db.add(user)
                db.flush()
                credential = self._begin(user.id, before, db)
        except IntegrityError:
            raise EmailTaken from None
        self._audit.record(Kind.REGISTERED, user_id=user.id)
        return LoggedIn(user, credential, Device.issue(user.id, user.password_hash))

    def recognises(self, device: Device, account: str) -> bool:
        """Whether the device has logged in to the account of this name with the password that it still has.

        The row is found by what the device says and never by the account's name, so neither the answer nor the time
        tells a forger whether there is such an account.
        """
        with self._database.reading() as db:
            living = select(User.email, User.password_hash).where(
                User.id == device.user_id, User.deleted_at.is_(None)
            )
            found = db.execute(living).first()
        email, stored = found or (None, None)
        return device.signed_with(stored) and email == account

    def log_in(
        self, email: str, password: str, before: LoginCredential | None = None, device: Device | None = None
    ) -> LoggedIn:
        """Log in; `before` is the browser's login until now, which ends, and `device` what it was recognised as.

        Raises LoginFailed, in the same words and after the same work whether or not there is such an account
        (OWASP ASVS 5, 6.3.8), or Unavailable.
        """
        found = self._by_address(email)
        stored = found.password_hash if found else None
        if not self._passwords.verify(password, stored) or found is None or stored is None:
            self._audit.record(Kind.LOGIN_FAILED, user_id=found.id if found else None)
            raise LoginFailed
        renewed = self._passwords.hash(password) if self._passwords.outdated(stored) else stored
        with self._database.writing() as db:
            user = self._locked(found.id, stored, db)
            user.password_hash = renewed
            credential = self._begin(user.id, before, db)
        self._audit.record(Kind.LOGIN, user_id=user.id, detail="password")
        return LoggedIn(user, credential, Device.issue(user.id, renewed, device))

    def log_in_through_issuer(self, user_id: UUID, before: LoginCredential | None = None) -> LoginCredential:
        """Log in a user whom the issuer has just named. Raises LoginFailed when they are no more."""
        with self._database.writing() as db:
            living = select(User.id).where(User.id == user_id, User.deleted_at.is_(None))
            known = db.scalar(living.with_for_update()) is not None
            credential = self._begin(user_id, before, db) if known else None
        if credential is None:
            self._audit.record(Kind.LOGIN_FAILED, user_id=user_id, detail="oidc: the account has been deleted")
            raise LoginFailed("This account has been deleted.")
        self._audit.record(Kind.LOGIN, user_id=user_id, detail="oidc")
        return credential

    def log_out(self, credential: LoginCredential) -> None:
        """End this login. One that has ended already is no error."""
        try:
            with self._database.writing() as db:
                login = self._logins.find(credential, db)
                self._logins.end(login.user_id, login.id, db)
        except LoginInvalid:
            return
        self._revocations.announce(login.user_id)
        self._audit.record(Kind.LOGOUT, user_id=login.user_id)

    def user(self, principal: Principal) -> User:
        """The principal's account. Raises LoginRequired when it has been deleted since it was proved."""
        with self._database.reading() as db:
            user = db.get(User, principal.user_id)
        if user is None or user.deleted_at is not None:
            raise LoginRequired("This account has been deleted. Log in to another one.")
        return user

    def change_password(self, principal: Principal, current: str, new: str, *, end_other_logins: bool) -> LoggedIn:
        """Change the password of a logged-in user, and renew this login; its old cookie ends. Every device
        but this one has to be made known anew.

        Raises PasswordRefused, NoPassword, LoginFailed when the current one is wrong, or Unavailable.
        """
        stored = self.user(principal).password_hash
        if stored is None:
            raise NoPassword
        self._passwords.check(new)
        self._verify_own(principal, current, stored)
        hashed = self._passwords.hash(new)
        with self._database.writing() as db:
            user = self._locked(principal.user_id, stored, db)
            user.password_hash = hashed
            if end_other_logins:
                self._logins.end_all(user.id, db)
            elif principal.login_id is not None:
                self._logins.end(user.id, principal.login_id, db)
            credential = self._logins.begin(user.id, db)
        self._audit.record(Kind.PASSWORD_CHANGED, user_id=user.id)
        return LoggedIn(user, credential, Device.issue(user.id, hashed))

    def logins(self, principal: Principal) -> Sequence[Login]:
        """The principal's logins, newest first."""
        with self._database.reading() as db:
            return self._logins.for_user(principal.user_id, db)

    def end_login(self, principal: Principal, login_id: UUID) -> None:
        """End one of the principal's logins. Raises UnknownLogin."""
        with self._database.writing() as db:
            ended = self._logins.end(principal.user_id, login_id, db)
        if not ended:
            raise UnknownLogin
        self._revocations.announce(principal.user_id)
        self._audit.record(Kind.LOGIN_ENDED, user_id=principal.user_id)

    def create_key(self, principal: Principal, name: str) -> tuple[ApiKey, KeyCredential]:
        """Create an API key; its secret can't be shown again. Raises TooManyKeys or LoginRequired."""
        with self._database.writing() as db:
            key, credential = self._keys.create(principal.user_id, name, db)
        self._audit.record(Kind.KEY_CREATED, user_id=principal.user_id, detail=str(key.id))
        return key, credential

    def keys(self, principal: Principal) -> Sequence[ApiKey]:
        """The principal's API keys, newest first."""
        with self._database.reading() as db:
            return self._keys.for_user(principal.user_id, db)

    def revoke_key(self, principal: Principal, key_id: UUID) -> None:
        """Revoke one of the principal's API keys. Raises UnknownKey."""
        with self._database.writing() as db:
            revoked = self._keys.revoke(principal.user_id, key_id, db)
        if not revoked:
            raise UnknownKey
        self._revocations.announce(principal.user_id)
        self._audit.record(Kind.KEY_REVOKED, user_id=principal.user_id, detail=str(key_id))

    def delete(self, principal: Principal, password: str | None) -> None:
        """Delete the account with all that hangs on it: sessions, words, logins, keys.

        Needs the password again where there is one. Raises InvalidBody without it, LoginFailed when it is wrong,
        or Unavailable.
        """
        stored = self.user(principal).password_hash
        if stored is not None:
            if password is None:
                raise InvalidBody("The field 'password' is missing.", field="password")
            self._verify_own(principal, password, stored)
        self._close(principal.user_id)
        self._audit.record(Kind.ACCOUNT_DELETED, user_id=principal.user_id)

    def close(self, user_id: UUID) -> bool:
        """Delete an account as `delete` does, at an operator's command. Whether all that hung on it is gone already;
        else a store was away, or a row can't be deleted, and the sweeps go on with it. Raises Unavailable."""
        gone = self._close(user_id)
        self._audit.record(Kind.ACCOUNT_CLOSED, user_id=user_id)
        return gone

    def _close(self, user_id: UUID) -> bool:
        # Unusable first: nothing is added any more to what is removed after that, here or, should a store be away, by
        # the next sweep.
        with self._database.writing() as db:
            user = db.scalars(select(User).where(User.id == user_id).with_for_update()).one_or_none()
            if user is not None:
                user.deleted_at = user.deleted_at or self._clock.now()
                self._logins.end_all(user.id, db)
                self._keys.revoke_all(user.id, db)
        self._revocations.announce(user_id)
        with suppress(Unavailable):
            return self._sweeper.remove_account(user_id)
        return False

    def sweep_logins(self, *, until: float = math.inf, on_deleted: Callable[[int], None] = lambda _: None) -> int:
        """Delete expired logins in bounded batches; returns how many. No batch is begun after `until`, by
        `time.monotonic`. `on_deleted` is called with each batch's number."""
        swept = 0
        while monotonic() < until:
            with self._database.writing() as db:
                batch = self._logins.sweep_expired(db)
            swept += batch
            on_deleted(batch)
            if batch < SWEEP_BATCH:
                break
        return swept

    def _by_address(self, email: str) -> User | None:
        try:
            address = normal_address(email)
        except InvalidBody:
            return None  # no account has it; it gets the words and the time of an unknown one
        with self._database.reading() as db:
            return db.scalars(select(User).where(User.email == address, User.deleted_at.is_(None))).one_or_none()

    def _verify_own(self, principal: Principal, password: str, stored: str) -> None:
        if not self._passwords.verify(password, stored):
            self._audit.record(Kind.LOGIN_FAILED, user_id=principal.user_id, detail="password asked for again")
            raise LoginFailed("The current password is wrong.")

    def _locked(self, user_id: UUID, verified: str, db: DatabaseSession) -> User:
        """The user, with the row locked. Raises LoginFailed when the password that was verified is
        no longer theirs."""
        user = db.scalars(select(User).where(User.id == user_id).with_for_update()).one_or_none()
        if user is None or user.deleted_at is not None or user.password_hash != verified:
            raise LoginFailed
        return user

    def _begin(self, user_id: UUID, before: LoginCredential | None, db: DatabaseSession) -> LoginCredential:
        if before is not None:
            self._end_before(before, db)
        return self._logins.begin(user_id, db)

    def _end_before(self, before: LoginCredential, db: DatabaseSession) -> None:
        try:
            login = self._logins.find(before, db)
        except LoginInvalid:
            return
        self._logins.end(login.user_id, login.id, db)
