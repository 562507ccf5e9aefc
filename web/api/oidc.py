"""/auth/oidc: logging in through the identity provider. Registered when one is configured."""

from datetime import timedelta

from flask import Blueprint, Response, url_for

from core.auth.oidc_login import LOGIN_STATE_TTL
from core.errors import LoginFailed, TokenInvalid, Unavailable
from core.limits.status import RateLimited
from core.operations.audit import Kind
from web.api.browser_login import announce_login
from web.api.operation import operation
from web.api.parameters import TEXT
from web.auth.access import PUBLIC
from web.auth.client_address import client_address
from web.auth.credentials import (
    clear_oidc_cookie,
    login_before,
    oidc_binding,
    set_login_cookie,
    set_oidc_cookie,
)
from web.context import context
from web.limits import login_limits
from web.openapi.declaration import Parameter

blueprint = Blueprint("oidc_login", __name__, url_prefix="/auth/oidc")

STATE = Parameter("state", "query", "The state that the identity provider was sent.", TEXT, "state")
CODE = Parameter("code", "query", "The authorization code that the identity provider has issued.", TEXT, "code")
ERROR = Parameter("error", "query", "Why the identity provider has issued no code.", TEXT, "error")


@blueprint.get("/login")
@operation(access=PUBLIC, answers={303: None}, raises=(RateLimited, Unavailable))
def login(response: Response) -> None:
    """Redirect the browser to the identity provider."""
    login_limits.admit_issuer_login(client_address())
    begun = context().services.issuer_login.begin(_redirect_uri())
    response.headers["Location"] = begun.url
    set_oidc_cookie(response, begun.binding, timedelta(seconds=LOGIN_STATE_TTL))


@blueprint.get("/callback")
@operation(
    access=PUBLIC,
    takes=(STATE, CODE, ERROR),
    answers={303: None},
    raises=(LoginFailed, Unavailable),
)
def callback(state: str | None, code: str | None, error: str | None, response: Response) -> None:
    """Log the browser in when the identity provider has redirected it back."""
    services = context().services
    if state and error:
        raise services.issuer_login.refuse(state, error, oidc_binding())
    if not state or not code:
        services.audit.refusal(Kind.LOGIN_FAILED, detail="oidc: the provider sent no state, or no code")
        raise LoginFailed("The identity provider did not log you in.")
    subject = services.issuer_login.finish(_redirect_uri(), state, code, oidc_binding())
    try:
        user_id = services.identity.user_for_subject(subject)
    except TokenInvalid as deleted:
        services.audit.record(Kind.LOGIN_FAILED, detail="oidc: the account has been deleted")
        raise LoginFailed(deleted.detail) from None
    response.headers["Location"] = url_for("pages.index")
    set_login_cookie(response, services.accounts.log_in_through_issuer(user_id, login_before()))
    clear_oidc_cookie(response)
    announce_login(response, user_id)


def _redirect_uri() -> str:
    # From the Host header; but the issuer takes only the one that it was told at our registration.
    return url_for("oidc_login.callback", _external=True)
