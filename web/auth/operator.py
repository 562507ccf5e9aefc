"""Whether the server's operator is asking: from its own machine, or with the operator's token."""

import hmac

from flask import request

from core.text.host_names import host_name, is_loopback
from web.auth.credentials import bearer_token
from web.context import context
from web.errors import OperatorOnly

FORWARDING = ("Forwarded", "Via", "X-Real-IP")
"""What proxies add, beside all that begins with X-Forwarded-: then the peer is a proxy, and speaks for others."""


def require_operator() -> None:
    """Raise OperatorOnly unless the request is the operator's. Nothing is looked up, and nothing recorded."""
    if not (_has_token() or _is_here()):
        raise OperatorOnly


def _has_token() -> bool:
    wanted, sent = context().options.metrics_token, bearer_token()
    if wanted is None or sent is None:
        return False
    return hmac.compare_digest(sent.encode(), wanted.get_secret_value().encode())


def _is_here() -> bool:
    # Whom the connection comes from, and not whom the proxies name (web/auth/client_address.py). Nor does it do to
    # have reached this machine: a page that gives its own name the address 127.0.0.1 makes a visitor's browser do
    # that, and then reads the answer. But it can't have the browser leave that name out.
    host = host_name(request.headers.get("Host", ""))
    return not _forwarded() and is_loopback(request.remote_addr or "") and host is not None and is_loopback(host)


def _forwarded() -> bool:
    return any(name in request.headers for name in FORWARDING) or any(
        name.lower().startswith("x-forwarded-") for name, _ in request.headers
    )
