"""The cookies: their names, and the attributes that all of them share."""

from dataclasses import dataclass
from datetime import timedelta

from flask import Response, request

HOST_PREFIX = "__Host-"
"""Makes browsers insist on HTTPS, this host and the path / (RFC 6265bis, 4.1.3)."""
SECURE_PREFIX = "__Secure-"
"""Makes browsers insist on HTTPS: for a cookie of a part of a site, whose path is not /."""


@dataclass(frozen=True)
class Cookie:
    """A cookie for the whole application that no script can read. Lax: links from other sites bring it, too."""

    plain_name: str

    @property
    def names(self) -> tuple[str, ...]:
        """The names that the cookie may have, over HTTPS first."""
        return HOST_PREFIX + self.plain_name, SECURE_PREFIX + self.plain_name, self.plain_name

    @property
    def name(self) -> str:
        """The name that it has on this request's connection."""
        host_name, secure_name, plain_name = self.names
        if not request.is_secure:
            return plain_name
        return secure_name if request.script_root else host_name

    def read_value(self) -> str | None:
        """What the request's cookie holds, or None when there is none."""
        return request.cookies.get(self.name)

    def set_value(self, response: Response, value: str, lifetime: timedelta) -> None:
        """Have the browser send the value from now on, for so long."""
        response.set_cookie(
            self.name,
            value,
            max_age=int(lifetime.total_seconds()),
            path=_path(),
            secure=request.is_secure,
            httponly=True,
            samesite="Lax",
        )

    def clear(self, response: Response) -> None:
        """Have the browser forget the cookie."""
        response.delete_cookie(self.name, path=_path(), secure=request.is_secure, httponly=True, samesite="Lax")


def _path() -> str:
    # Without a slash at its end: the root's own page may be asked for without one.
    return request.script_root or "/"


SESSION = Cookie("switchboard")
LOGIN = Cookie("switchboard_login")
DEVICE = Cookie("switchboard_device")
OIDC = Cookie("switchboard_oidc")
