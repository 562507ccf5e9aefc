"""/auth/oidc: logging in through the identity provider. Only there when one is configured."""

from flask import Blueprint, Response, request, url_for

from core.auth.oidc_login import LOGIN_STATE_TTL
from core.errors import LoginFailed
from core.limits.buckets import KNOWN_CLIENT_FACTOR, address_buckets
from core.limits.status import RateLimited
from web.api.auth import announce_after
from web.api.session import personal
from web.auth.client_address import client_address
from web.auth.credentials import (
    clear_oidc_cookie,
    login_before,
    oidc_binding,
    set_login_cookie,
    set_oidc_cookie,
)
from web.context import parts
from web.limits import rate_limit_headers
from web.openapi.operation import TEXT, Parameter, documented

blueprint = Blueprint("oidc_login", __name__, url_prefix="/auth/oidc")

STATE = Parameter("state", "query", "What the identity provider was given.", TEXT)
CODE = Parameter("code", "query", "What it gives in return.", TEXT)


@blueprint.get("/login")
@documented({303: None}, access="open", raises=(RateLimited,))
def login() -> Response:
    """Send the browser to the identity provider."""
    runtime = parts().runtime
    rate = runtime.settings.limit_login
    # Nothing is guessed here, so passwords that are tried from the same address don't count, and more is allowed.
    rate_limit_headers.require(
        address_buckets("login-issuer", client_address(), rate and rate.times(KNOWN_CLIENT_FACTOR))
    )
    begun = runtime.issuer_login.begin(_redirect_uri())
    response = _to(begun.url)
    set_oidc_cookie(response, begun.binding, LOGIN_STATE_TTL)
    return personal(response)


@blueprint.get("/callback")
@documented({303: None}, access="open", raises=(LoginFailed,), takes=(STATE, CODE))
def callback() -> Response:
    """Take the browser back from there, logged in."""
    state, code = request.args.get("state"), request.args.get("code")
    if not state or not code:
        raise LoginFailed("The identity provider did not log you in.")
    runtime = parts().runtime
    subject = runtime.issuer_login.finish(_redirect_uri(), state, code, oidc_binding())
    user_id = runtime.identity.user_for_subject(subject)
    response = _to("/")
    set_login_cookie(response, runtime.accounts.log_in_through_issuer(user_id, login_before()))
    clear_oidc_cookie(response)
    announce_after(response, user_id)
    return personal(response)


def _redirect_uri() -> str:
    # From the Host header; but the issuer takes only the one that it was told at our registration.
    return url_for("oidc_login.callback", _external=True)


def _to(url: str) -> Response:
    response = Response(status=303)
    response.headers["Location"] = url
    return response
