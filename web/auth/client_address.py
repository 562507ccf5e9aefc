"""Where a request comes from: the client's address, and what its proxies say of scheme and host."""

from ipaddress import ip_address

from flask import Flask, request
from werkzeug.middleware.proxy_fix import ProxyFix

from web.context import context


def trust_proxies(app: Flask, proxies: int) -> None:
    """Believe X-Forwarded-Proto and -Host if there are proxies, and otherwise no header.

    What the nearest proxy says counts, however many there are: of these two a proxy hands on one value, its own
    or the one that it got from the proxy before it.
    """
    if proxies:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=0, x_proto=1, x_host=1, x_port=0, x_prefix=0
        )


def client_address() -> str | None:
    """The address of the client, as far as the configured proxies can be believed; None when there is none."""
    forwarded = request.headers.get("X-Forwarded-For", "")
    return nearest_stranger(request.remote_addr, forwarded, context().options.trusted_proxies)


def nearest_stranger(peer: str | None, forwarded: str, proxies: int) -> str | None:
    """The address that spoke to the outermost of `proxies` proxies.

    Each proxy appends whom it was spoken to by, so the list is read from its right end, and only that far: what
    is further left was written by a stranger. An entry that is no address ends the reading too; then the last
    one before it is the best that is known.
    """
    address = peer
    # Split no further than it is read: a client may send thousands.
    for entry in reversed(forwarded.rsplit(",", proxies)[-proxies:] if proxies else []):
        readable = _address(entry.strip())
        if readable is None:
            break
        address = readable
    return address


def _address(entry: str) -> str | None:
    """An address without the port that some proxies add: `192.0.2.1:4711`, `[2001:db8::1]:4711`."""
    if entry.startswith("["):
        entry = entry[1:].partition("]")[0]
    elif entry.count(":") == 1:
        entry = entry.partition(":")[0]
    try:
        return str(ip_address(entry))
    except ValueError:
        return None
