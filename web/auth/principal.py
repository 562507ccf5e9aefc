"""The user that a request speaks for."""

from typing import cast

from flask import g

from core.auth.principal import Principal
from core.errors import LoginRequired
from web.auth.credentials import bearer_token, login_credential
from web.context import context
from web.errors import LoginOnly

HOW_TO_LOG_IN = "Log in, or send an API key or token as Authorization: Bearer."


def current_principal() -> Principal | None:
    """The user who sent the request, or None for an anonymous one. Looked up once per request.

    Raises TokenInvalid or LoginInvalid: a request with a credential is meant to be a user's, and must not be taken
    for anonymous.
    """
    if "principal" not in g:
        g.principal = _find()
    return cast("Principal | None", g.principal)


def required_principal() -> Principal:
    """The user who sent the request. Raises LoginRequired for an anonymous one."""
    principal = current_principal()
    if principal is None:
        raise LoginRequired(HOW_TO_LOG_IN)
    return principal


def person_at_browser() -> Principal:
    """The user, logged in at a browser: for what a leaked key must not be able to do. Raises LoginOnly."""
    principal = required_principal()
    if principal.method != "login":
        raise LoginOnly
    return principal


def _find() -> Principal | None:
    identity = context().services.identity
    token = bearer_token()
    if token is not None:
        return identity.principal_for_bearer(token)
    credential = login_credential()
    return None if credential is None else identity.principal_for_login(credential)
