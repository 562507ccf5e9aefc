"""/auth: accounts, logins and API keys."""

from typing import Any
from uuid import UUID

from flask import Blueprint, Response, jsonify

from core.auth.accounts import ApiKey, LoggedIn, Login, User
from core.auth.devices import Device
from core.auth.email_address import account_key
from core.auth.principal import Principal
from core.clock import rfc3339
from core.errors import (
    EmailTaken,
    LoginFailed,
    LoginRequired,
    NoPassword,
    PasswordRefused,
    RateLimited,
    RegistrationClosed,
    TooManyKeys,
    UnknownKey,
    UnknownLogin,
)
from core.limits.buckets import account_buckets, address_buckets, known_buckets, login_buckets
from web.api.representations import personal
from web.auth.client_address import client_address
from web.auth.credentials import (
    clear_device_cookie,
    clear_login_cookie,
    clear_session_cookie,
    device_cookie,
    login_before,
    session_cookie,
    set_device_cookie,
    set_login_cookie,
)
from web.auth.principal import HOW_TO_LOG_IN, current_principal, person_at_browser, required_principal
from web.context import context
from web.errors import LoginOnly
from web.limits import change_limits, rate_limit_headers
from web.openapi.operation import documented
from web.schemas import responses
from web.schemas.requests import ChangePassword, CreateKey, Credentials, DeleteAccount, Nothing, parse

blueprint = Blueprint("auth", __name__, url_prefix="/auth")


@blueprint.post("/register")
@documented(
    {201: responses.User},
    access="open",
    body=Credentials,
    raises=(RegistrationClosed, EmailTaken, PasswordRefused, RateLimited),
)
def register() -> Response:
    """Make an account and log in."""
    body = parse(Credentials)
    _admit_registration(body.email)
    return _logged_in(context().runtime.accounts.register(body.email, body.password, login_before()), 201)


@blueprint.post("/login")
@documented({200: responses.User}, access="open", body=Credentials, raises=(LoginFailed, RateLimited))
def login() -> Response:
    """Log in."""
    body = parse(Credentials)
    device = _known_device(body.email)
    _admit_login(body.email, device)
    return _logged_in(context().runtime.accounts.log_in(body.email, body.password, login_before(), device), 200)


@blueprint.post("/logout")
@documented({204: None}, access="open", body=Nothing)
def logout() -> Response:
    """End this browser's login."""
    parse(Nothing)
    credential = login_before()
    if credential is not None:
        context().runtime.accounts.log_out(credential)
    return _logged_out()


@blueprint.get("/me")
@documented({200: responses.Me}, access="user")
def me() -> Response:
    """Who the request speaks for, and what can be done here to become somebody."""
    principal = current_principal()
    if principal is None:
        raise LoginRequired(HOW_TO_LOG_IN, **_ways_in())
    user = context().runtime.accounts.user(principal)
    return personal(jsonify(**_described(user), method=principal.method, **_ways_in()))


@blueprint.delete("/me")
@documented({204: None}, access="user", body=DeleteAccount, raises=(LoginOnly, LoginFailed, RateLimited))
def delete_me() -> Response:
    """Delete the account and all that belongs to it."""
    body = parse(DeleteAccount)
    principal = required_principal()
    if principal.method == "api-key":
        raise LoginOnly
    if body.password is not None:
        _admit_again(principal)
    context().runtime.accounts.delete(principal, body.password)
    response = _logged_out()
    clear_device_cookie(response)
    return response


@blueprint.post("/password")
@documented(
    {204: None},
    access="user",
    body=ChangePassword,
    raises=(LoginOnly, LoginFailed, NoPassword, PasswordRefused, RateLimited),
)
def change_password() -> Response:
    """Change the password. The cookie is a new one after that."""
    body = parse(ChangePassword)
    principal = person_at_browser()
    _admit_again(principal)
    changed = context().runtime.accounts.change_password(
        principal, body.current_password, body.new_password, end_other_logins=body.end_other_logins
    )
    response = Response(status=204)
    _set_cookies(response, changed)
    announce_after(response, principal.user_id)
    return personal(response)


@blueprint.get("/logins")
@documented({200: responses.Logins}, access="user")
def logins() -> Response:
    """The browsers that the user is logged in with."""
    principal = required_principal()
    found = context().runtime.accounts.logins(principal)
    return personal(jsonify(logins=[_described_login(login, principal) for login in found]))


@blueprint.delete("/logins/<uuid:login_id>")
@documented({204: None}, access="user", raises=(LoginOnly, UnknownLogin))
def end_login(login_id: UUID) -> Response:
    """End one of them, from the next request on."""
    principal = person_at_browser()
    context().runtime.accounts.end_login(principal, login_id)
    return _logged_out() if login_id == principal.login_id else personal(Response(status=204))


@blueprint.post("/keys")
@documented({201: responses.NewApiKey}, access="user", body=CreateKey, raises=(LoginOnly, TooManyKeys, RateLimited))
def create_key() -> Response:
    """Make an API key. This answer is the only one that holds it."""
    body = parse(CreateKey)
    principal = person_at_browser()
    change_limits.admit("keys", principal.user_id)
    key, credential = context().runtime.accounts.create_key(principal, body.name)
    created_at = rfc3339(key.created_at)
    response = jsonify(id=str(key.id), name=key.name, key=str(credential), created_at=created_at)
    response.status_code = 201
    return personal(response)


@blueprint.get("/keys")
@documented({200: responses.ApiKeys}, access="user")
def keys() -> Response:
    """The user's API keys, without their secrets."""
    found = context().runtime.accounts.keys(required_principal())
    return personal(jsonify(keys=[_described_key(key) for key in found]))


@blueprint.delete("/keys/<uuid:key_id>")
@documented({204: None}, access="user", raises=(LoginOnly, UnknownKey))
def revoke_key(key_id: UUID) -> Response:
    """Revoke one of them, from the next request on."""
    context().runtime.accounts.revoke_key(person_at_browser(), key_id)
    return personal(Response(status=204))


def _known_device(email: str) -> Device | None:
    """What the browser is known as to the account that it names, if it is."""
    device = device_cookie()
    if device is None or not context().runtime.accounts.recognises(device, account_key(email)):
        return None
    return device


def _admit_login(email: str, device: Device | None) -> None:
    """Charge an attempt to log in, before any password is hashed. Raises RateLimited or Unavailable."""
    rate, address = context().runtime.settings.limit_login, client_address()
    if device is None:
        rate_limit_headers.require(login_buckets(address, account_key(email), rate))
    else:
        rate_limit_headers.require(known_buckets("login-device", f"{device.user_id} {device.nonce}", address, rate))


def _admit_registration(email: str) -> None:
    """Charge an attempt to register to the address. Raises RateLimited or Unavailable.

    It counts for the account too, since it tells whether there is one, but is not refused for that: strangers could
    otherwise keep somebody from making theirs.
    """
    runtime = context().runtime
    rate = runtime.settings.limit_login
    rate_limit_headers.require(address_buckets("login", client_address(), rate))
    runtime.limiter.charge(account_buckets(account_key(email), rate))


def _admit_again(principal: Principal) -> None:
    """Charge an attempt to prove the password to the login that asks: whoever has stolen it could otherwise try
    passwords freely. Raises RateLimited or Unavailable."""
    subject = str(principal.login_id or principal.user_id)
    rate_limit_headers.require(
        known_buckets("password", subject, client_address(), context().runtime.settings.limit_login)
    )


def _set_cookies(response: Response, logged_in: LoggedIn) -> None:
    set_login_cookie(response, logged_in.credential)
    set_device_cookie(response, logged_in.device)


def _logged_in(logged_in: LoggedIn, status: int) -> Response:
    response = jsonify(_described(logged_in.user))
    response.status_code = status
    _set_cookies(response, logged_in)
    _clear_cookie_of_others(response, logged_in.user.id)
    announce_after(response, logged_in.user.id)
    return personal(response)


def announce_after(response: Response, user_id: UUID) -> None:
    """Tell the streams of ended logins once the browser has its new one: a page that hears of it asks at once who it
    is, and with the old cookie would be told that it is nobody."""
    revocations, before = context().runtime.revocations, login_before()
    response.call_on_close(lambda: revocations.announce(user_id))
    if before is not None:
        response.call_on_close(lambda: revocations.announce(before.login_id))


def _logged_out() -> Response:
    response = Response(status=204)
    clear_login_cookie(response)
    _clear_cookie_of_others(response, None)
    return personal(response)


def _clear_cookie_of_others(response: Response, user_id: UUID | None) -> None:
    """Take the session cookie back when it names a session that the browser's user can't open any more."""
    credential = session_cookie()
    if credential is None:
        return
    session = context().runtime.session_queries.find_session(credential.session_id)
    proved = credential.secret is not None if session is None else session.owner_id in (None, user_id)
    if not proved:
        clear_session_cookie(response)


def _ways_in() -> dict[str, Any]:
    settings = context().runtime.settings
    return {"registration": settings.registration, "oidc": settings.oidc_login}


def _described(user: User) -> dict[str, Any]:
    return {"user_id": str(user.id), "email": user.email}


def _described_login(login: Login, principal: Principal) -> dict[str, Any]:
    return {
        "id": str(login.id),
        "created_at": rfc3339(login.created_at),
        "last_used_at": rfc3339(login.last_used_at),
        "expires_at": rfc3339(login.expires_at),
        "current": login.id == principal.login_id,
    }


def _described_key(key: ApiKey) -> dict[str, Any]:
    return {
        "id": str(key.id),
        "name": key.name,
        "created_at": rfc3339(key.created_at),
        "last_used_at": None if key.last_used_at is None else rfc3339(key.last_used_at),
    }
