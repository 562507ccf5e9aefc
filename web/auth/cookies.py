"""The cookies: their names, and the attributes that all of them share."""

from dataclasses import dataclass
from datetime import timedelta

from flask import Response, request

HTTPS_PREFIX = "__Host-"
"""Makes browsers insist on HTTPS, this host and the path / (RFC 6265bis, 4.1.3)."""


@dataclass(frozen=True)
class Cookie:
    """A cookie for the whole site that no script can read. Lax: it also comes with a link from another site."""

    plain_name: str

    @property
    def names(self) -> tuple[str, str]:
        """The names that the cookie may have, over HTTPS first."""
        return HTTPS_PREFIX + self.plain_name, self.plain_name

    @property
    def name(self) -> str:
        """The name that it has on this request's connection."""
        https_name, plain_name = self.names
        return https_name if request.is_secure else plain_name

    def read_value(self) -> str | None:
        """What the request's cookie holds, or None when there is none."""
        return request.cookies.get(self.name)

    def set_value(self, response: Response, value: str, lifetime: timedelta) -> None:
        """Have the browser send the value from now on, for so long."""
        response.set_cookie(
            self.name,
            value,
            max_age=int(lifetime.total_seconds()),
            path="/",
            secure=request.is_secure,
            httponly=True,
            samesite="Lax",
        )

    def clear(self, response: Response) -> None:
        """Have the browser forget the cookie."""
        response.delete_cookie(self.name, path="/", secure=request.is_secure, httponly=True, samesite="Lax")


SESSION = Cookie("switchboard")
LOGIN = Cookie("switchboard_login")
DEVICE = Cookie("switchboard_device")
OIDC = Cookie("switchboard_oidc")
