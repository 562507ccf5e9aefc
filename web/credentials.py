"""Takes ids and secrets out of cookies and headers, puts them into cookies, and nothing more."""

from flask import Response, request

from core.session_service import Credential
from web.parts import parts


def _cookie_name() -> str:
    # The prefix makes browsers insist on HTTPS, this host and the path / (RFC 6265bis, 4.1.3).
    return "__Host-switchboard" if request.is_secure else "switchboard"


def session_credential() -> Credential | None:
    """The session credential of the request, or None. Raises SessionInvalid when it is malformed."""
    text = request.headers.get("X-Session-ID") or request.cookies.get(_cookie_name())
    return Credential.parse(text) if text else None


def set_cookie(response: Response, credential: Credential) -> None:
    """Hand the secret to the browser, where no script can read it."""
    response.set_cookie(
        _cookie_name(),
        str(credential),
        max_age=int(parts().runtime.settings.anonymous_max.total_seconds()),
        httponly=True,
        secure=request.is_secure,
        samesite="Lax",
        path="/",
    )


def clear_cookie(response: Response) -> None:
    """Take it back."""
    response.delete_cookie(_cookie_name(), path="/", httponly=True, secure=request.is_secure, samesite="Lax")
