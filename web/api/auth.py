"""/auth: accounts, logins and API keys."""

from uuid import UUID

from flask import Blueprint, Response

from core.auth.devices import Device
from core.auth.email_address import account_key
from core.auth.principal import Principal
from core.errors import (
    EmailTaken,
    InvalidBody,
    LoginFailed,
    NoPassword,
    PasswordRefused,
    RegistrationClosed,
    TooManyKeys,
    Unavailable,
    UnknownKey,
    UnknownLogin,
)
from core.limits.status import RateLimited
from web.api import browser_login
from web.api.operation import operation
from web.api.representations import key_answer, login_answer, user_answer
from web.auth.access import PUBLIC, USER, USER_BY_LOGIN, USER_OR_WAYS_IN
from web.auth.client_address import client_address
from web.auth.credentials import clear_device_cookie, device_cookie, login_before
from web.auth.principal import ways_in
from web.context import context
from web.errors import LoginOnly
from web.limits import change_limits, login_limits
from web.schemas import responses
from web.schemas.requests import ChangePassword, CreateKey, Credentials, DeleteAccount, Nothing

blueprint = Blueprint("auth", __name__, url_prefix="/auth")


@blueprint.post("/register")
@operation(
    access=PUBLIC,
    body=Credentials,
    answers={201: responses.User},
    raises=(RegistrationClosed, EmailTaken, PasswordRefused, InvalidBody, RateLimited, Unavailable),
)
def register(body: Credentials, response: Response) -> responses.User:
    """Create an account and log in."""
    login_limits.admit_registration(body.email, client_address())
    logged_in = context().services.accounts.register(body.email, body.password, login_before())
    browser_login.replace_user(response, logged_in)
    return user_answer(logged_in.user)


@blueprint.post("/login")
@operation(
    access=PUBLIC,
    body=Credentials,
    answers={200: responses.User},
    raises=(LoginFailed, RateLimited, Unavailable),
)
def login(body: Credentials, response: Response) -> responses.User:
    """Log in."""
    device = _known_device(body.email)
    login_limits.admit_login(body.email, device, client_address())
    logged_in = context().services.accounts.log_in(body.email, body.password, login_before(), device)
    browser_login.replace_user(response, logged_in)
    return user_answer(logged_in.user)


@blueprint.post("/logout")
@operation(access=PUBLIC, body=Nothing, answers={204: None}, raises=(Unavailable,))
def logout(response: Response) -> None:
    """Log this browser out."""
    credential = login_before()
    if credential is not None:
        context().services.accounts.log_out(credential)
    browser_login.clear_login(response)


@blueprint.get("/me")
@operation(access=USER_OR_WAYS_IN, answers={200: responses.Me})
def me(principal: Principal) -> responses.Me:
    """Read the user that the request is authenticated as, and the ways to get an account here."""
    user = context().services.accounts.user(principal)
    return responses.Me(user_id=user.id, email=user.email, method=principal.method, **ways_in())


@blueprint.delete("/me")
@operation(access=USER, body=DeleteAccount, answers={204: None}, raises=(LoginOnly, LoginFailed, RateLimited))
def delete_me(body: DeleteAccount, principal: Principal, response: Response) -> None:
    """Delete the account and all that belongs to it."""
    if principal.method == "api-key":
        raise LoginOnly
    if body.password is not None:
        login_limits.admit_password(principal, client_address())
    context().services.accounts.delete(principal, body.password)
    browser_login.clear_login(response)
    clear_device_cookie(response)


@blueprint.post("/password")
@operation(
    access=USER_BY_LOGIN,
    body=ChangePassword,
    answers={204: None},
    raises=(LoginFailed, NoPassword, PasswordRefused, RateLimited),
)
def change_password(body: ChangePassword, principal: Principal, response: Response) -> None:
    """Change the password. The login cookie is a new one after that."""
    login_limits.admit_password(principal, client_address())
    changed = context().services.accounts.change_password(
        principal, body.current_password, body.new_password, end_other_logins=body.end_other_logins
    )
    browser_login.set_login(response, changed)


@blueprint.get("/logins")
@operation(access=USER, answers={200: responses.Logins})
def logins(principal: Principal) -> responses.Logins:
    """List the user's logins, one for each browser."""
    found = context().services.accounts.logins(principal)
    return responses.Logins(logins=[login_answer(login, principal) for login in found])


@blueprint.delete("/logins/<uuid:login_id>")
@operation(access=USER_BY_LOGIN, answers={204: None}, raises=(UnknownLogin,))
def end_login(login_id: UUID, principal: Principal, response: Response) -> None:
    """End a login, from the next request on."""
    context().services.accounts.end_login(principal, login_id)
    if login_id == principal.login_id:
        browser_login.clear_login(response)


@blueprint.post("/keys")
@operation(
    access=USER_BY_LOGIN,
    body=CreateKey,
    answers={201: responses.NewApiKey},
    raises=(TooManyKeys, RateLimited),
)
def create_key(body: CreateKey, principal: Principal) -> responses.NewApiKey:
    """Create an API key. No other answer holds its secret."""
    change_limits.admit("keys", principal.user_id)
    key, credential = context().services.accounts.create_key(principal, body.name)
    return responses.NewApiKey(id=key.id, name=key.name, key=str(credential), created_at=key.created_at)


@blueprint.get("/keys")
@operation(access=USER, answers={200: responses.ApiKeys})
def keys(principal: Principal) -> responses.ApiKeys:
    """List the user's API keys, without their secrets."""
    return responses.ApiKeys(keys=[key_answer(key) for key in context().services.accounts.keys(principal)])


@blueprint.delete("/keys/<uuid:key_id>")
@operation(access=USER_BY_LOGIN, answers={204: None}, raises=(UnknownKey,))
def revoke_key(key_id: UUID, principal: Principal) -> None:
    """Revoke an API key, from the next request on."""
    context().services.accounts.revoke_key(principal, key_id)


def _known_device(email: str) -> Device | None:
    """The browser's device, if the account that it names knows it."""
    device = device_cookie()
    if device is None or not context().services.accounts.recognises(device, account_key(email)):
        return None
    return device
