"""Nobody is locked out of their account by strangers, and strangers gain no try by what keeps it so."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from core.auth import logins
from core.auth.devices import Device
from core.limits.rate import parse_rate
from core.runtime import Runtime
from core.settings import Settings
from core.stores.tables import User
from tests.support.issuer import CLIENT_ID, CLIENT_SECRET, Issuer
from tests.support.runtime_of import runtime_of
from web.app import create_app
from web.context import context_of

PASSWORD = "correct horse battery staple"
OTHER_PASSWORD = "four other words entirely"
TRIES = 3
"""What one stranger has in five minutes, and an account from all strangers together."""
DEVICE = "switchboard_device"
_networks = count(0x1000)

Browser = Callable[[str], FlaskClient]


@pytest.fixture
def app(stack: Settings) -> Iterator[Flask]:
    """A server that lets strangers try three passwords."""
    yield from _served(stack)


def _served(stack: Settings, **more: Any) -> Iterator[Flask]:
    runtime = Runtime(stack.model_copy(update={"limit_login": parse_rate(f"{TRIES}/5m"), **more}))
    app = create_app(runtime)
    yield app
    context_of(app).hub.close()
    runtime.close()


@pytest.fixture
def address() -> Iterator[str]:
    """Addresses of networks that no other test comes from."""
    return (f"2001:db8:{next(_networks):x}::1" for _ in count())


@pytest.fixture
def here(address: Iterator[str]) -> str:
    """Where the owner registered."""
    return next(address)


@pytest.fixture
def browser(app: Flask) -> Browser:
    """Makes browsers at an address."""
    return lambda address: _at(app.test_client(), address)


def _at(client: FlaskClient, address: str) -> FlaskClient:
    client.environ_base["REMOTE_ADDR"] = address
    return client


@pytest.fixture
def email() -> str:
    """The owner's account."""
    return f"{uuid4().hex}@example.org"


@pytest.fixture
def owner(browser: Browser, here: str, email: str) -> FlaskClient:
    """Somebody who has registered, and logged in at this browser."""
    client = browser(here)
    assert _register(client, email).status_code == 201
    return client


def _register(client: FlaskClient, email: str, password: str = PASSWORD) -> TestResponse:
    return client.post("/auth/register", json={"email": email, "password": password})


def _log_in(client: FlaskClient, email: str, password: str = PASSWORD) -> TestResponse:
    return client.post("/auth/login", json={"email": email, "password": password})


def _tried(client: FlaskClient, email: str, times: int = 12) -> list[int]:
    return [_log_in(client, email, f"wrong password {each}").status_code for each in range(times)]


def _exhaust(browser: Browser, email: str, here: str, elsewhere: str) -> None:
    """Have strangers use up what the account and the owner's address have."""
    for address in (elsewhere, here):
        assert 429 in _tried(browser(address), email)
    assert _log_in(browser(elsewhere), email).status_code == 429


def _change(client: FlaskClient, current: str, new: str = OTHER_PASSWORD) -> TestResponse:
    return client.post("/auth/password", json={"current_password": current, "new_password": new})


def _device(client: FlaskClient) -> str:
    cookie = client.get_cookie(DEVICE)
    assert cookie is not None
    return cookie.value


# Those who have been here before


@pytest.mark.parametrize("moves", [False, True], ids=["same address", "another address"])
def test_strangers_lock_nobody_out_of_a_browser_that_has_logged_in_before(
    owner: FlaskClient, email: str, browser: Browser, here: str, address: Iterator[str], moves: bool
) -> None:
    assert owner.post("/auth/logout").status_code == 204
    _exhaust(browser, email, here, next(address))
    if moves:
        there = next(address)
        _tried(browser(there), email)
        _at(owner, there)
    for _ in range(2):
        assert _log_in(owner, email.upper()).status_code == 200
        assert owner.get("/auth/me").get_json()["email"] == email
        assert owner.post("/auth/logout").status_code == 204


def test_strangers_keep_no_logged_in_owner_from_their_account(
    owner: FlaskClient, email: str, browser: Browser, here: str, address: Iterator[str]
) -> None:
    owner.delete_cookie(DEVICE)
    _exhaust(browser, email, here, next(address))
    assert _change(owner, PASSWORD).status_code == 204
    assert owner.delete("/auth/me", json={"password": PASSWORD}).status_code == 401
    assert owner.delete("/auth/me", json={"password": OTHER_PASSWORD}).status_code == 204


def test_strangers_keep_nobody_from_registering(browser: Browser, here: str, address: Iterator[str]) -> None:
    email = f"{uuid4().hex}@example.org"
    assert 429 in _tried(browser(next(address)), email)
    assert _register(browser(here), email).status_code == 201


def test_passwords_tried_at_an_address_keep_nobody_there_from_the_identity_provider(
    stack: Settings, here: str
) -> None:
    issuer = Issuer()
    secret = Settings(oidc_client_secret=CLIENT_SECRET).oidc_client_secret
    options = {"oidc_issuer": issuer.url, "oidc_client_id": CLIENT_ID, "oidc_client_secret": secret}
    for app in _served(stack, **options):
        client = _at(app.test_client(), here)
        assert 429 in _tried(client, f"{uuid4().hex}@example.org")
        assert {client.get("/auth/oidc/login").status_code for _ in range(2 * TRIES)} == {303}
        begun = [client.get("/auth/oidc/login").status_code for _ in range(16 * TRIES)]
        assert begun[-1] == 429  # what waits for browsers is bounded all the same
    issuer.stop()


# ... and what they gain


def test_of_one_account_all_strangers_together_try_few_passwords(
    owner: FlaskClient, email: str, browser: Browser, address: Iterator[str]
) -> None:
    statuses = [_log_in(browser(next(address)), email, "wrong").status_code for _ in range(300)]
    assert statuses.count(401) == TRIES - 1  # registering told that there is the account, and was counted
    assert statuses.count(429) == 301 - TRIES


def test_a_known_browser_tries_few_passwords_too_however_often_it_logs_in(
    owner: FlaskClient, email: str, browser: Browser, address: Iterator[str]
) -> None:
    known = _device(owner)
    tried = []
    for _ in range(3):
        thief = browser(next(address))
        thief.set_cookie(DEVICE, known)
        _log_in(thief, email)  # a log-in makes no other device of it
        tried += _tried(thief, email)
    assert len([status for status in tried if status != 429]) < TRIES
    refused = _log_in(owner, email)
    assert (refused.status_code, refused.get_json(force=True)["limit"]) == (429, "login-device")
    assert refused.headers["Retry-After"]


def test_whoever_has_stolen_a_login_finds_out_no_password(owner: FlaskClient, address: Iterator[str]) -> None:
    tried = []
    for each in range(6):
        _at(owner, next(address))
        tried.append(_change(owner, f"wrong {each}"))
        tried.append(owner.delete("/auth/me", json={"password": f"wrong {each}"}))
    assert [response.status_code for response in tried] == [401] * TRIES + [429] * (12 - TRIES)
    assert tried[-1].get_json(force=True)["limit"] == "password"
    assert "password" in tried[-1].headers["RateLimit"]
    assert owner.get("/auth/me").status_code == 200


def test_those_who_are_known_have_a_limit_at_one_address_all_together(
    owner: FlaskClient, email: str, here: str, stack: Settings
) -> None:
    """Nobody collects devices of their own, to have the server hash without end."""
    for app in _served(stack, limit_login=parse_rate("1/5m")):
        runtime = runtime_of(app)
        with runtime.database.reading() as db:
            user_id, stored = db.execute(select(User.id, User.password_hash).where(User.email == email)).one()
        assert stored is not None
        statuses = []
        for _ in range(20):
            client = _at(app.test_client(), here)
            client.set_cookie(DEVICE, str(Device.issue(user_id, stored)))
            statuses.append(_log_in(client, email, "wrong").status_code)
        assert statuses == [401] * 16 + [429] * 4


def _flipped(text: str, at: int) -> str:
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]


@pytest.mark.parametrize("forge", ["signature", "nonce", "user", "foreign", "old password", "malformed", "long"])
@pytest.mark.parametrize("known", [True, False], ids=["an account", "no account"])
def test_a_device_that_is_none_of_the_accounts_gains_nothing_and_tells_nothing(
    owner: FlaskClient, email: str, browser: Browser, address: Iterator[str], forge: str, known: bool
) -> None:
    named = email if known else f"{uuid4().hex}@example.org"
    true = _device(owner)
    user_id, nonce, signature = true.split(".")
    if forge == "foreign":
        eve = browser(next(address))
        _register(eve, f"{uuid4().hex}@example.org")
        forged = _device(eve)
    elif forge == "old password":
        assert _change(owner, PASSWORD).status_code == 204
        assert _device(owner) != true
        forged = true
    else:
        forged = {
            "signature": f"{user_id}.{nonce}.{_flipped(signature, 20)}",
            "nonce": f"{user_id}.{_flipped(nonce, 3)}.{signature}",
            "user": f"{uuid4()}.{nonce}.{signature}",
            "malformed": f"{true}.x",
            "long": f"{user_id}.{'x' * 3000}",
        }[forge]
    at = next(address)
    plain, liar = browser(at), browser(next(address))
    liar.set_cookie(DEVICE, forged)
    told = _log_in(plain, named, "wrong"), _log_in(liar, named, "wrong")
    assert [answer.status_code for answer in told] == [401, 401]
    assert told[0].data == told[1].data
    assert [name for name, _ in told[0].headers] == [name for name, _ in told[1].headers]
    assert told[0].headers["RateLimit-Policy"] == told[1].headers["RateLimit-Policy"]
    assert told[0].headers["RateLimit"].partition(";t=")[0] == told[1].headers["RateLimit"].partition(";t=")[0]
    assert "Set-Cookie" not in told[1].headers
    # The account has been tried as often as it may be, for the liar too; registering was one try.
    assert _tried(liar, named)[0 if known else 1 :].count(429) == 12 - (not known)


# The cookie


def test_the_device_cookie_is_out_of_reach_of_scripts_and_other_sites(browser: Browser, here: str) -> None:
    body = {"email": f"{uuid4().hex}@example.org", "password": PASSWORD}
    client = browser(here)
    for path, base_url, name in (
        ("/auth/register", "http://localhost", "switchboard_device"),
        ("/auth/login", "https://localhost", "__Host-switchboard_device"),
    ):
        response = client.post(path, json=body, base_url=base_url)
        (cookie,) = [each for each in response.headers.getlist("Set-Cookie") if each.startswith(f"{name}=")]
        attributes = set(cookie.split("; ")[1:])
        assert {"HttpOnly", "Path=/", "SameSite=Lax", f"Max-Age={365 * 86400}"} <= attributes
        assert ("Secure" in attributes) == base_url.startswith("https")
        assert "Domain" not in cookie


def test_the_device_cookie_outlives_the_login_and_goes_with_the_account(
    owner: FlaskClient, email: str, app: Flask
) -> None:
    known = _device(owner)
    owner.post("/auth/logout")
    assert _device(owner) == known
    assert owner.get("/auth/me").status_code == 401  # it logs nobody in
    _log_in(owner, email)
    assert _device(owner) == known  # the same browser is the same device
    assert owner.delete("/auth/me", json={"password": PASSWORD}).status_code == 204
    assert owner.get_cookie(DEVICE) is None


def test_who_has_just_changed_the_password_is_known_by_the_new_one(
    owner: FlaskClient, email: str, browser: Browser, here: str, address: Iterator[str]
) -> None:
    assert _change(owner, PASSWORD).status_code == 204
    owner.post("/auth/logout")
    _exhaust(browser, email, here, next(address))
    assert _log_in(owner, email, OTHER_PASSWORD).status_code == 200


def test_a_device_of_somebody_without_a_password_is_none(owner: FlaskClient, email: str, app: Flask) -> None:
    runtime = runtime_of(app)
    device = Device.parse(_device(owner))
    assert device is not None
    assert runtime.accounts.recognises(device, email)
    assert not runtime.accounts.recognises(device, "other@example.org")
    with runtime.database.writing() as db:
        db.execute(update(User).where(User.id == device.user_id).values(password_hash=None))
    assert not runtime.accounts.recognises(device, email)
    assert device.signature not in repr(device)


# Logins have an end


def test_of_many_logins_the_one_used_least_lately_ends(
    owner: FlaskClient, email: str, stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "MAX_LOGINS", 3)
    for app in _served(stack, limit_login=None):
        browsers = [app.test_client() for _ in range(4)]
        for client in browsers:
            assert _log_in(client, email).status_code == 200
        assert [client.get("/auth/me").status_code for client in browsers] == [401, 200, 200, 200]
        assert owner.get("/auth/me").status_code == 401
        assert len(browsers[3].get("/auth/logins").get_json()["logins"]) == 3
