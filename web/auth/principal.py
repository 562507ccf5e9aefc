"""The user that a request speaks for."""

from typing import Any, cast

from flask import g

from core.auth.identity import Identified
from core.auth.principal import Principal
from core.errors import LoginRequired, SwitchboardError
from core.sessions.credential import Credential
from core.sessions.queries import Session
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
        identify(None)
    return cast("Principal | None", g.principal)


def identify(named: Credential | None) -> Session | SwitchboardError | None:
    """Look the user up and, in the same transaction, the session that the request names; what became of the session,
    or None when there is no user, or was one already. Raises as `current_principal` does."""
    if "principal" in g:
        return None
    identified = _find(named)
    g.principal = identified and identified.principal
    return identified and identified.session


def required_principal() -> Principal:
    """The user who sent the request. Raises LoginRequired for an anonymous one."""
    principal = current_principal()
    if principal is None:
        raise LoginRequired(HOW_TO_LOG_IN)
    return principal


def ways_in() -> dict[str, Any]:
    """The ways to get an account here."""
    options = context().options
    return {"registration": options.registration, "oidc": options.oidc_issuer is not None}


def principal_or_ways_in() -> Principal:
    """The user. Raises LoginRequired, which tells the ways to get an account here."""
    principal = current_principal()
    if principal is None:
        raise LoginRequired(HOW_TO_LOG_IN, **ways_in())
    return principal


def person_at_browser() -> Principal:
    """The user, logged in at a browser: for what a leaked key must not be able to do. Raises LoginOnly."""
    principal = required_principal()
    if principal.method != "login":
        raise LoginOnly
    return principal


def _find(named: Credential | None) -> Identified | None:
    identity = context().services.identity
    token = bearer_token()
    if token is not None:
        return identity.identify_bearer(token, named)
    credential = login_credential()
    return None if credential is None else identity.identify_login(credential, named)
