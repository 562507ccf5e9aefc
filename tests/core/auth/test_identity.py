"""Accounts, logins and keys on both databases."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from sqlalchemy import func, select, text, update
from uuid_utils.compat import uuid7

from core.auth import api_keys, logins
from core.auth.api_keys import KeyCredential
from core.auth.logins import LoginCredential
from core.auth.oidc import Subject
from core.auth.passwords import Passwords
from core.auth.principal import Principal
from core.errors import (
    EmailTaken,
    InvalidBody,
    LoginFailed,
    LoginInvalid,
    NoPassword,
    PasswordRefused,
    RegistrationClosed,
    TokenInvalid,
    TooManyKeys,
    UnknownKey,
    UnknownLogin,
)
from core.operations.audit import Kind
from core.runtime import Runtime
from core.settings import Settings
from core.stores.redis import Redis
from core.stores.tables import ApiKey, AuditEvent, Base, Login, Session, User
from tests.conftest import SOME_ID, TurnableClock
from tests.support.issuer import AUDIENCE, Issuer
from tests.support.valkey import Valkey

EMAIL = "ada@example.org"
PASSWORD = "correct horse battery staple"
OTHER_PASSWORD = "four other words entirely"


def _settings(url: str, valkey: Valkey, models_path: Path, **more: Any) -> Settings:
    return Settings(configured_database_url=url, configured_redis_url=valkey.url, models_path=models_path, **more)


@pytest.fixture
def runtime(
    any_database_url: str, redis: Redis, valkey: Valkey, models_path: Path, clock: TurnableClock
) -> Iterator[Runtime]:
    parts = Runtime(_settings(any_database_url, valkey, models_path), clock=clock)
    yield parts
    parts.close()


def _registered(runtime: Runtime) -> LoginCredential:
    return runtime.accounts.register(EMAIL, PASSWORD).credential


def _principal(runtime: Runtime) -> Principal:
    return runtime.identity.principal_for_login(_registered(runtime))


def _kinds(runtime: Runtime) -> list[str]:
    return [event.kind for event in runtime.audit.read()]


def _count(runtime: Runtime, table: type[Base]) -> int:
    with runtime.database.reading() as db:
        return db.scalar(select(func.count()).select_from(table)) or 0


# Registering


def test_who_registers_is_logged_in(runtime: Runtime) -> None:
    registered = runtime.accounts.register(EMAIL, PASSWORD)
    principal = runtime.identity.principal_for_login(registered.credential)
    assert principal.user_id == registered.user.id
    assert (principal.method, principal.login_id) == ("login", registered.credential.login_id)
    assert runtime.accounts.user(principal).email == EMAIL
    assert _kinds(runtime) == [Kind.REGISTERED]


@pytest.mark.parametrize("spelling", [EMAIL, "  Ada@Example.ORG ", "ADA@EXAMPLE.ORG"])
def test_an_address_has_one_account_however_it_is_spelt(runtime: Runtime, spelling: str) -> None:
    user = runtime.accounts.register(EMAIL, PASSWORD).user
    with pytest.raises(EmailTaken):
        runtime.accounts.register(spelling, OTHER_PASSWORD)
    assert runtime.accounts.log_in(spelling, PASSWORD).user.id == user.id


@pytest.mark.parametrize(
    "email", ["", "ada", "ada@", "@example.org", "a da@example.org", "ada@exa\0mple.org", "a\n@b.c"]
)
def test_what_is_no_address_is_refused(runtime: Runtime, email: str) -> None:
    with pytest.raises(InvalidBody):
        runtime.accounts.register(email, PASSWORD)


def test_a_common_password_makes_no_account(runtime: Runtime) -> None:
    with pytest.raises(PasswordRefused):
        runtime.accounts.register(EMAIL, "password1")
    assert _count(runtime, User) == 0


def test_closed_registration_is_closed(
    any_database_url: str, valkey: Valkey, models_path: Path, redis: Redis
) -> None:
    runtime = Runtime(_settings(any_database_url, valkey, models_path, registration="closed"))
    with pytest.raises(RegistrationClosed):
        runtime.accounts.register(EMAIL, PASSWORD)
    runtime.close()


def test_of_those_who_register_an_address_at_once_one_gets_it(runtime: Runtime) -> None:
    outcomes: list[str] = []

    def register() -> None:
        try:
            runtime.accounts.register(EMAIL, PASSWORD)
            outcomes.append("registered")
        except EmailTaken:
            outcomes.append("taken")

    threads = [threading.Thread(target=register) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["registered"] + ["taken"] * 4


# Logging in


def test_unknown_user_and_wrong_password_are_the_same_in_words_and_work(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    _registered(runtime)
    runtime.identity.user_for_subject(Subject("https://issuer.example", "7", runtime.clock.now()))
    hashed: list[str] = []
    for name in ("verify", "hash"):
        original = getattr(PasswordHasher, name)

        def counted(self: PasswordHasher, *args: Any, name: str = name, original: Any = original) -> Any:
            hashed.append(name)
            return original(self, *args)

        monkeypatch.setattr(PasswordHasher, name, counted)
    seen = []
    for email, password in (
        (EMAIL, OTHER_PASSWORD),
        ("nobody@example.org", PASSWORD),
        ("not an address", PASSWORD),
        ("nul\0@example.org", PASSWORD),
        (EMAIL, ""),
        (EMAIL, "x" * 100_000),
    ):
        with pytest.raises(LoginFailed) as failed:
            runtime.accounts.log_in(email, password)
        seen.append((failed.value.problem(), hashed.copy()))
        hashed.clear()
    assert all(each == seen[0] for each in seen)
    assert seen[0][1] == ["verify"]


def test_failures_are_in_the_audit_log_without_the_address_of_a_stranger(runtime: Runtime) -> None:
    user_id = runtime.accounts.register(EMAIL, PASSWORD).user.id
    for email in (EMAIL, "nobody@example.org"):
        with pytest.raises(LoginFailed):
            runtime.accounts.log_in(email, OTHER_PASSWORD)
    failures = runtime.audit.read(kind=Kind.LOGIN_FAILED)
    assert [(event.user_id, event.detail) for event in failures] == [(user_id, None), (None, None)]


def test_each_login_is_a_new_one_and_ends_the_one_before(runtime: Runtime) -> None:
    first = _registered(runtime)
    second = runtime.accounts.log_in(EMAIL, PASSWORD, before=first).credential
    assert (first.login_id, first.secret) != (second.login_id, second.secret)
    with pytest.raises(LoginInvalid):
        runtime.identity.principal_for_login(first)
    third = runtime.accounts.log_in(EMAIL, PASSWORD).credential  # from another browser
    runtime.identity.principal_for_login(second)
    runtime.identity.principal_for_login(third)


def test_only_its_secret_proves_a_login(runtime: Runtime) -> None:
    credential = _registered(runtime)
    for forged in (
        LoginCredential(credential.login_id, "x" * 43),
        LoginCredential(credential.login_id, credential.secret[:-1]),
        LoginCredential(uuid7(), credential.secret),
    ):
        with pytest.raises(LoginInvalid):
            runtime.identity.principal_for_login(forged)


@pytest.mark.parametrize(
    "text", ["", ".", "x", "x.y", SOME_ID, f"{SOME_ID}.", f"{SOME_ID.replace('-', '')}.x", "a" * 5000]
)
def test_a_malformed_login_cookie_is_none(text: str) -> None:
    with pytest.raises(LoginInvalid):
        LoginCredential.parse(text)


def test_logging_out_ends_the_login_and_twice_is_no_error(runtime: Runtime) -> None:
    credential = _registered(runtime)
    principal = runtime.identity.principal_for_login(credential)
    assert runtime.proofs.valid_principals([principal])
    runtime.accounts.log_out(LoginCredential(credential.login_id, "x" * 43))  # a forger ends nothing
    assert runtime.proofs.valid_principals([principal])
    runtime.accounts.log_out(credential)
    runtime.accounts.log_out(credential)
    assert not runtime.proofs.valid_principals([principal])
    with pytest.raises(LoginInvalid):
        runtime.identity.principal_for_login(credential)
    assert _kinds(runtime) == [Kind.REGISTERED, Kind.LOGOUT]


def test_an_idle_login_expires(runtime: Runtime, clock: TurnableClock) -> None:
    credential = _registered(runtime)
    principal = runtime.identity.principal_for_login(credential)
    clock.turn(timedelta(days=14))
    with pytest.raises(LoginInvalid):
        runtime.identity.principal_for_login(credential)
    assert not runtime.proofs.valid_principals([principal])
    assert runtime.accounts.logins(principal) == []


def test_use_keeps_a_login_up_to_its_absolute_end(runtime: Runtime, clock: TurnableClock) -> None:
    credential = _registered(runtime)
    for _ in range(8):
        clock.turn(timedelta(days=11))
        runtime.identity.principal_for_login(credential)
    clock.turn(timedelta(days=2))
    with pytest.raises(LoginInvalid):
        runtime.identity.principal_for_login(credential)


def test_use_is_written_only_when_it_is_noticeable(runtime: Runtime, clock: TurnableClock) -> None:
    credential = _registered(runtime)
    started = clock.now()

    def last_used() -> Any:
        with runtime.database.reading() as db:
            return db.scalars(select(Login.last_used_at)).one()

    clock.turn(timedelta(hours=16))
    runtime.identity.principal_for_login(credential)
    assert last_used() == started
    clock.turn(timedelta(hours=1))
    runtime.identity.principal_for_login(credential)
    assert last_used() == clock.now()


def test_expired_logins_are_swept_and_the_living_left(runtime: Runtime, clock: TurnableClock) -> None:
    _registered(runtime)
    clock.turn(timedelta(days=10))
    living = runtime.accounts.log_in(EMAIL, PASSWORD).credential
    clock.turn(timedelta(days=5))
    with runtime.database.writing() as db:
        assert runtime.logins.sweep_expired(db) == 1
    with runtime.database.reading() as db:
        assert db.scalars(select(Login.id)).all() == [living.login_id]


def test_hashes_with_old_parameters_are_renewed_at_the_next_login(runtime: Runtime) -> None:
    _registered(runtime)
    old = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    with runtime.database.writing() as db:
        db.execute(update(User).values(password_hash=old))
    runtime.accounts.log_in(EMAIL, PASSWORD)
    with runtime.database.reading() as db:
        renewed = db.scalars(select(User.password_hash)).one()
    assert renewed is not None
    assert renewed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    runtime.accounts.log_in(EMAIL, PASSWORD)


def test_a_password_that_changes_while_it_is_verified_opens_nothing(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    principal = _principal(runtime)
    verify = Passwords.verify
    changed = threading.Event()

    def overtaken(self: Passwords, password: str, stored: str | None) -> bool:
        answer = verify(self, password, stored)
        if not changed.is_set():
            changed.set()
            runtime.accounts.change_password(principal, PASSWORD, OTHER_PASSWORD, end_other_logins=True)
        return answer

    monkeypatch.setattr(Passwords, "verify", overtaken)
    with pytest.raises(LoginFailed):
        runtime.accounts.log_in(EMAIL, PASSWORD)


# Changing the password, ending logins


@pytest.mark.parametrize("end_others", [True, False])
def test_a_new_password_renews_this_login_and_ends_the_others_if_wanted(runtime: Runtime, end_others: bool) -> None:
    mine = _registered(runtime)
    others = runtime.accounts.log_in(EMAIL, PASSWORD).credential
    principal = runtime.identity.principal_for_login(mine)
    renewed = runtime.accounts.change_password(
        principal, PASSWORD, OTHER_PASSWORD, end_other_logins=end_others
    ).credential
    with pytest.raises(LoginInvalid):
        runtime.identity.principal_for_login(mine)
    assert runtime.identity.principal_for_login(renewed).user_id == principal.user_id
    if end_others:
        with pytest.raises(LoginInvalid):
            runtime.identity.principal_for_login(others)
    else:
        runtime.identity.principal_for_login(others)
    with pytest.raises(LoginFailed):
        runtime.accounts.log_in(EMAIL, PASSWORD)
    runtime.accounts.log_in(EMAIL, OTHER_PASSWORD)


def test_the_current_password_is_needed_for_a_new_one(runtime: Runtime) -> None:
    principal = _principal(runtime)
    with pytest.raises(LoginFailed):
        runtime.accounts.change_password(principal, "not this one", OTHER_PASSWORD, end_other_logins=True)
    with pytest.raises(PasswordRefused):
        runtime.accounts.change_password(principal, PASSWORD, "short", end_other_logins=True)
    runtime.accounts.log_in(EMAIL, PASSWORD)


def test_a_login_is_ended_by_its_user_only(runtime: Runtime) -> None:
    mine = _principal(runtime)
    theirs = runtime.identity.principal_for_login(runtime.accounts.register("eve@example.org", PASSWORD).credential)
    assert mine.login_id is not None
    with pytest.raises(UnknownLogin):
        runtime.accounts.end_login(theirs, mine.login_id)
    assert [login.id for login in runtime.accounts.logins(mine)] == [mine.login_id]
    runtime.accounts.end_login(mine, mine.login_id)
    assert not runtime.proofs.valid_principals([mine])


def test_of_many_logins_at_once_the_newest_stay(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "MAX_LOGINS", 3)
    user_id = runtime.identity.user_for_subject(Subject("https://issuer.example", "7", runtime.clock.now()))
    threads = [threading.Thread(target=runtime.accounts.log_in_through_issuer, args=(user_id,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _count(runtime, Login) == 3
    last = runtime.accounts.log_in_through_issuer(user_id)
    assert runtime.identity.principal_for_login(last).user_id == user_id
    assert _count(runtime, Login) == 3


# API keys


def test_a_key_proves_its_user_until_it_is_revoked(runtime: Runtime) -> None:
    owner = _principal(runtime)
    key, credential = runtime.accounts.create_key(owner, "backup")
    assert str(credential).startswith(f"sb_{key.id.hex}_")
    principal = runtime.identity.principal_for_bearer(str(credential))
    assert (principal.user_id, principal.method, principal.key_id) == (owner.user_id, "api-key", key.id)
    assert runtime.proofs.valid_principals([principal])
    runtime.accounts.revoke_key(owner, key.id)
    assert not runtime.proofs.valid_principals([principal])
    with pytest.raises(TokenInvalid):
        runtime.identity.principal_for_bearer(str(credential))
    with pytest.raises(UnknownKey):
        runtime.accounts.revoke_key(owner, key.id)


def test_only_its_secret_proves_a_key(runtime: Runtime) -> None:
    owner = _principal(runtime)
    _, credential = runtime.accounts.create_key(owner, "backup")
    for forged in (
        KeyCredential(credential.key_id, "x" * 43),
        KeyCredential(uuid7(), credential.secret),
        str(credential)[:-1],
        str(credential) + "x",
        str(credential).upper(),
        "sb_",
        "sb_é",
    ):
        with pytest.raises(TokenInvalid):
            runtime.identity.principal_for_bearer(str(forged))


def test_the_use_of_a_key_is_noted_once_a_minute(runtime: Runtime, clock: TurnableClock) -> None:
    owner = _principal(runtime)
    _, credential = runtime.accounts.create_key(owner, "backup")

    def last_used() -> Any:
        return runtime.accounts.keys(owner)[0].last_used_at

    assert last_used() is None
    runtime.identity.principal_for_bearer(str(credential))
    first = clock.now()
    assert last_used() == first
    clock.turn(timedelta(seconds=59))
    runtime.identity.principal_for_bearer(str(credential))
    assert last_used() == first
    clock.turn(timedelta(seconds=1))
    runtime.identity.principal_for_bearer(str(credential))
    assert last_used() == clock.now()


def test_keys_have_an_end(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MAX_KEYS", 2)
    owner = _principal(runtime)
    for _ in range(2):
        runtime.accounts.create_key(owner, "one more")
    with pytest.raises(TooManyKeys):
        runtime.accounts.create_key(owner, "one more")


def test_a_key_is_revoked_by_its_user_only(runtime: Runtime) -> None:
    key, _ = runtime.accounts.create_key(_principal(runtime), "backup")
    theirs = runtime.identity.principal_for_login(runtime.accounts.register("eve@example.org", PASSWORD).credential)
    with pytest.raises(UnknownKey):
        runtime.accounts.revoke_key(theirs, key.id)
    assert runtime.accounts.keys(theirs) == []


# The issuer's users


def test_issuer_and_subject_are_the_identity(
    any_database_url: str, valkey: Valkey, models_path: Path, redis: Redis, clock: TurnableClock
) -> None:
    issuer = Issuer()
    runtime = Runtime(
        _settings(any_database_url, valkey, models_path, oidc_issuer=issuer.url, oidc_audience=AUDIENCE), clock=clock
    )
    taken = runtime.accounts.register(EMAIL, PASSWORD).user
    first = runtime.identity.principal_for_bearer(issuer.token(email=EMAIL, email_verified=True))
    again = runtime.identity.principal_for_bearer(issuer.token("ec"))
    other = runtime.identity.principal_for_bearer(issuer.token(sub="another"))
    assert first.user_id == again.user_id
    assert len({first.user_id, other.user_id, taken.id}) == 3  # an e-mail address in a token opens no account
    assert first.method == "oidc"
    assert runtime.proofs.valid_principals([first])
    with pytest.raises(NoPassword):
        runtime.accounts.change_password(first, "", PASSWORD, end_other_logins=True)
    clock.turn(timedelta(minutes=6))
    assert not runtime.proofs.valid_principals([first])
    runtime.accounts.delete(again, None)
    assert _count(runtime, User) == 2
    issuer.stop()
    runtime.close()


def test_without_an_issuer_there_are_no_tokens(runtime: Runtime) -> None:
    with pytest.raises(TokenInvalid):
        runtime.identity.principal_for_bearer("eyJhbGciOiJSUzI1NiJ9.e30.x")


def test_a_subject_seen_first_by_many_at_once_is_one_user(runtime: Runtime) -> None:
    subject = Subject("https://issuer.example", "7", runtime.clock.now())
    found: list[object] = []
    threads = [
        threading.Thread(target=lambda: found.append(runtime.identity.user_for_subject(subject))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


# The end


def test_a_deleted_account_leaves_nothing_but_its_audit_events(runtime: Runtime) -> None:
    principal = _principal(runtime)
    runtime.accounts.create_key(principal, "backup")
    with runtime.database.writing() as db:
        sessions = [runtime.sessions.create_session(db, principal.user_id) for _ in range(2)]
    for session in sessions:
        runtime.generations.accept(session, "Why?")
        runtime.writer.run()
    stranger = runtime.accounts.register("eve@example.org", PASSWORD)
    with runtime.database.writing() as db:
        theirs = runtime.sessions.create_session(db, stranger.user.id)

    for password in (None, OTHER_PASSWORD):
        with pytest.raises((InvalidBody, LoginFailed)):
            runtime.accounts.delete(principal, password)
    assert _count(runtime, Session) == 3
    runtime.accounts.delete(principal, PASSWORD)

    assert (_count(runtime, User), _count(runtime, Login), _count(runtime, ApiKey)) == (1, 1, 0)
    with runtime.database.reading() as db:
        assert db.scalars(select(Session.id)).all() == [theirs.id]
        for table in Base.metadata.sorted_tables:
            if table.name != AuditEvent.__tablename__:
                assert str(principal.user_id) not in str(db.execute(select(table)).all())
    assert not [key for key in runtime.redis.keys("*") for session in sessions if str(session.id) in key]
    assert not runtime.proofs.valid_principals([principal])
    runtime.accounts.register(EMAIL, OTHER_PASSWORD)
    assert Kind.ACCOUNT_DELETED in _kinds(runtime)


def test_a_dump_of_the_database_logs_nobody_in(runtime: Runtime) -> None:
    credential = _registered(runtime)
    principal = runtime.identity.principal_for_login(credential)
    _, key = runtime.accounts.create_key(principal, "backup")
    strings, ids = _everything(runtime)
    assert len(ids) >= 4
    for secret in (credential.secret, key.secret, PASSWORD):
        assert not [found for found in strings if secret in found]
    for found in strings:
        with pytest.raises(TokenInvalid):
            runtime.identity.principal_for_bearer(found)
        with pytest.raises(LoginInvalid):
            runtime.identity.principal_for_login(LoginCredential.parse(found))
        for each in ids:
            with pytest.raises(LoginInvalid):
                runtime.identity.principal_for_login(LoginCredential.parse(f"{each}.{found}"))
            with pytest.raises(TokenInvalid):
                runtime.identity.principal_for_bearer(f"sb_{each.replace('-', '')}_{found}")
    for found in strings:
        with pytest.raises(LoginFailed):
            runtime.accounts.log_in(EMAIL, found)
    runtime.identity.principal_for_login(credential)
    runtime.accounts.log_in(EMAIL, PASSWORD)


def _everything(runtime: Runtime) -> tuple[set[str], set[str]]:
    """Every string in the database, in every spelling that a column could have on the wire, and every id."""
    import base64
    from uuid import UUID

    strings: set[str] = set()
    ids: set[str] = set()
    with runtime.database.reading() as db:
        for table in Base.metadata.sorted_tables:
            for value in (value for row in db.execute(select(table)) for value in row if value is not None):
                if isinstance(value, UUID):
                    ids.add(str(value))
                if isinstance(value, bytes):
                    strings |= {
                        value.hex(),
                        base64.b64encode(value).decode(),
                        base64.urlsafe_b64encode(value).rstrip(b"=").decode(),
                        value.decode("latin-1"),
                    }
                else:
                    strings.add(str(value))
        db.execute(text("SELECT 1"))
    return strings, ids
