"""Refuses what another site's page makes a visitor's browser send (cross-site request forgery).

The rule is that of Go's http.CrossOriginProtection: what Sec-Fetch-Site says, which no page can forge; from
browsers that don't send it (old ones, and all of them over plain HTTP), `Origin` against `Host`; a request
with neither header comes from no browser. Another origin of the same site is another site here: cookies know
neither ports nor schemes, so SameSite keeps neither of those out.
"""

from collections.abc import Collection

from flask import Flask, current_app, request

from web.auth.credentials import bearer_token
from web.context import context
from web.errors import CrossSite
from web.openapi.declaration import SAFE_METHODS, declared_operation

MAX_QUOTE_LENGTH = 200
"""Characters of a header that are repeated in a refusal."""
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def register(app: Flask) -> None:
    """Check every request before anything else looks at it."""
    app.before_request(_check)


def same_site(
    fetch_site: str | None, origin: str | None, host: str, *, secure: bool, trusted: Collection[str] = ()
) -> bool:
    """Whether a request comes from our own pages, from one of the `trusted` origins or from no browser at all."""
    if origin in trusted:
        return True
    if fetch_site is not None:
        return fetch_site in ("same-origin", "none")
    if origin is None:
        return True
    scheme, _, sender = origin.lower().partition("://")
    # Behind a proxy that ends TLS and was not declared, an https page looks like a stranger to plain http; the
    # other way round it is one: that page was written by someone on the network path.
    if secure and scheme != "https":
        return False
    return bool(sender) and _without_port(scheme, sender) == _without_port(scheme, host.lower())


def _without_port(scheme: str, host: str) -> str:
    return host.removesuffix(_DEFAULT_PORTS.get(scheme, ""))


def refusal(fetch_site: str | None, origin: str | None, host: str) -> CrossSite:
    """The error, which names what was compared with what: most often met while a proxy is set up."""
    if fetch_site is not None:
        return CrossSite(
            f"The browser says that another site's page sent this: Sec-Fetch-Site is {_quoted(fetch_site)}."
        )
    return CrossSite(
        f"The page that sent this is of another site: Origin is {_quoted(origin or '')}, and the request's Host"
        f" {_quoted(host)}. If they are one site, a proxy in between changes Host or ends TLS: have it pass on what"
        " the browser says (nginx: proxy_set_header Host $http_host; and X-Forwarded-Proto $scheme), with"
        " SWITCHBOARD_TRUSTED_PROXIES set to the number of proxies."
    )


def _quoted(text: str) -> str:
    return repr(text if len(text) <= MAX_QUOTE_LENGTH else f"{text[:MAX_QUOTE_LENGTH]}…")


def _check() -> None:
    operation = declared_operation(current_app.view_functions.get(request.endpoint or ""))
    if request.method in SAFE_METHODS if operation is None else operation.is_safe(request.method):
        return
    # A page of another site can't add these headers without asking first (CORS), and is told no; but a browser
    # adds cookies by itself. Without either, the answer would still set a cookie in place of the one that
    # SameSite has just held back.
    if not request.cookies and (request.headers.get("X-Session-ID") or bearer_token()):
        return
    fetch_site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    trusted = context().options.cors_origins
    if not same_site(fetch_site, origin, request.host, secure=request.is_secure, trusted=trusted):
        raise refusal(fetch_site, origin, request.host)
