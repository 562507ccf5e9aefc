"""Takes ids and secrets out of cookies and headers, puts them into cookies, and nothing more."""

from uuid import UUID

from flask import Response, request

from core.auth.devices import DEVICE_LIFETIME, Device
from core.auth.logins import LoginCredential
from core.errors import LoginInvalid, SessionInvalid
from core.sessions.credential import Credential
from web.context import parts


def _cookie_name() -> str:
    # The prefix makes browsers insist on HTTPS, this host and the path / (RFC 6265bis, 4.1.3).
    return "__Host-switchboard" if request.is_secure else "switchboard"


def session_credential() -> Credential | None:
    """The session credential of the request, or None. Raises SessionInvalid when it is malformed."""
    text = request.headers.get("X-Session-ID") or request.cookies.get(_cookie_name())
    return Credential.parse(text) if text else None


def named_session() -> UUID | None:
    """The session that the request is about, whoever sent it; None also when the credential is malformed."""
    try:
        credential = session_credential()
    except SessionInvalid:
        return None
    return credential.session_id if credential else None


def session_cookie() -> Credential | None:
    """The session cookie alone, whatever the header says; None also when it is malformed."""
    try:
        return Credential.parse(request.cookies.get(_cookie_name(), ""))
    except SessionInvalid:
        return None


def set_cookie(response: Response, credential: Credential) -> None:
    """Hand the credential to the browser, where no script can read it."""
    settings = parts().runtime.settings
    lives = settings.user_max if credential.secret is None else settings.anonymous_max
    response.set_cookie(
        _cookie_name(),
        str(credential),
        max_age=int(lives.total_seconds()),
        httponly=True,
        secure=request.is_secure,
        samesite="Lax",
        path="/",
    )


def clear_cookie(response: Response) -> None:
    """Take it back."""
    response.delete_cookie(_cookie_name(), path="/", httponly=True, secure=request.is_secure, samesite="Lax")


def login_credential() -> LoginCredential | None:
    """The login cookie of the request, or None. Raises LoginInvalid when it is malformed."""
    text = request.cookies.get(_login_cookie_name())
    return LoginCredential.parse(text) if text else None


def login_before() -> LoginCredential | None:
    """The same for whoever is about to log in or out, and whom a broken cookie must not keep from it."""
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
    lives = parts().runtime.settings.user_max
    response.set_cookie(
        _login_cookie_name(),
        str(credential),
        max_age=int(lives.total_seconds()),
        httponly=True,
        secure=request.is_secure,
        samesite="Lax",
        path="/",
    )


def clear_login_cookie(response: Response) -> None:
    """Log the browser out."""
    response.delete_cookie(_login_cookie_name(), path="/", httponly=True, secure=request.is_secure, samesite="Lax")


def _login_cookie_name() -> str:
    return "__Host-switchboard_login" if request.is_secure else "switchboard_login"


def device_cookie() -> Device | None:
    """What the browser says it is known by; None also when it is malformed."""
    return Device.parse(request.cookies.get(_device_cookie_name(), ""))


def set_device_cookie(response: Response, device: Device) -> None:
    """Know the browser again at its next log-in. Logging out leaves the cookie: that is when it is needed."""
    response.set_cookie(
        _device_cookie_name(),
        str(device),
        max_age=int(DEVICE_LIFETIME.total_seconds()),
        httponly=True,
        secure=request.is_secure,
        samesite="Lax",
        path="/",
    )


def clear_device_cookie(response: Response) -> None:
    """Its account is no more."""
    response.delete_cookie(_device_cookie_name(), path="/", httponly=True, secure=request.is_secure, samesite="Lax")


def _device_cookie_name() -> str:
    return "__Host-switchboard_device" if request.is_secure else "switchboard_device"


def oidc_binding() -> str:
    """What this browser was given when it went to the identity provider; empty when it never did."""
    return request.cookies.get(_oidc_cookie_name(), "")


def set_oidc_cookie(response: Response, binding: str, max_age: int) -> None:
    """Know the browser again when it comes back within so many seconds. Lax: it comes back from another site."""
    response.set_cookie(
        _oidc_cookie_name(),
        binding,
        max_age=max_age,
        httponly=True,
        secure=request.is_secure,
        samesite="Lax",
        path="/",
    )


def clear_oidc_cookie(response: Response) -> None:
    """It has served."""
    response.delete_cookie(_oidc_cookie_name(), path="/", httponly=True, secure=request.is_secure, samesite="Lax")


def _oidc_cookie_name() -> str:
    return "__Host-switchboard_oidc" if request.is_secure else "switchboard_oidc"
