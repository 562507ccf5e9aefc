"""The ids and secrets that a request's cookies and headers hold, and an answer's cookies are given."""

from datetime import timedelta
from uuid import UUID

from flask import Response, request

from core.auth.devices import DEVICE_LIFETIME, Device
from core.auth.logins import LoginCredential
from core.errors import LoginInvalid, SessionInvalid
from core.sessions.credential import Credential
from web.auth import cookies
from web.context import context


def session_credential() -> Credential | None:
    """The session credential of the request, or None. Raises SessionInvalid when it is malformed."""
    text = request.headers.get("X-Session-ID") or cookies.SESSION.read_value()
    return Credential.parse(text) if text else None


def named_session() -> UUID | None:
    """The session that the request is about, proved or not; None also when the credential is malformed."""
    try:
        credential = session_credential()
    except SessionInvalid:
        return None
    return credential.session_id if credential else None


def session_cookie() -> Credential | None:
    """The session cookie alone, whatever the header says; None also when it is malformed."""
    try:
        return Credential.parse(cookies.SESSION.read_value() or "")
    except SessionInvalid:
        return None


def set_session_cookie(response: Response, credential: Credential) -> None:
    """Hand the credential to the browser, where no script can read it."""
    options = context().options
    lifetime = options.user_max if credential.secret is None else options.anonymous_max
    cookies.SESSION.set_value(response, str(credential), lifetime)


def clear_session_cookie(response: Response) -> None:
    """Take the session's credential back."""
    cookies.SESSION.clear(response)


def login_credential() -> LoginCredential | None:
    """The login cookie of the request, or None. Raises LoginInvalid when it is malformed."""
    text = cookies.LOGIN.read_value()
    return LoginCredential.parse(text) if text else None


def login_before() -> LoginCredential | None:
    """The login that logging in or out ends; None also when its cookie is malformed, which must prevent
    neither."""
    try:
        return login_credential()
    except LoginInvalid:
        return None


def bearer_token() -> str | None:
    """What `Authorization: Bearer` holds, or None.

    Other schemes are none of ours: a proxy in front may well ask for a password of its own.
    """
    scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def set_login_cookie(response: Response, credential: LoginCredential) -> None:
    """Log the browser in. The cookie outlives no login; the login decides, and may end sooner."""
    cookies.LOGIN.set_value(response, str(credential), context().options.user_max)


def clear_login_cookie(response: Response) -> None:
    """Log the browser out."""
    cookies.LOGIN.clear(response)


def device_cookie() -> Device | None:
    """What the browser says it is known by; None also when it is malformed."""
    return Device.parse(cookies.DEVICE.read_value() or "")


def set_device_cookie(response: Response, device: Device) -> None:
    """Know the browser again at its next log-in. Logging out leaves the cookie: that is when it is needed."""
    cookies.DEVICE.set_value(response, str(device), DEVICE_LIFETIME)


def clear_device_cookie(response: Response) -> None:
    """Forget the browser: its account has been deleted."""
    cookies.DEVICE.clear(response)


def oidc_binding() -> str:
    """What this browser was given when it went to the identity provider; empty when it never did."""
    return cookies.OIDC.read_value() or ""


def set_oidc_cookie(response: Response, binding: str, lifetime: timedelta) -> None:
    """Know the browser again when it comes back from the identity provider within this time."""
    cookies.OIDC.set_value(response, binding, lifetime)


def clear_oidc_cookie(response: Response) -> None:
    """Forget the binding, which has served."""
    cookies.OIDC.clear(response)
