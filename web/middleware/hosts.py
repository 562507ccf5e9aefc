"""Refuses requests for another server's name, so that no page whose name points here can read what is served.

Where the server listens on this machine alone there may be no other wall: what runs here is let do more, and a model
works without a login.
"""

from collections.abc import Collection

from flask import Flask, request

from core.text.host_names import is_loopback, is_own
from web.errors import WrongHost


def register(app: Flask, names: Collection[str] | None) -> None:
    """Check the name of every request before anything else looks at it. The names are those that people use, beside
    those of the machine itself; with None any name is right."""
    if names is None:
        return

    @app.before_request
    def check() -> None:
        if not is_own(request.environ.get("HTTP_HOST"), names):
            raise WrongHost


def own_names(hosts: Collection[str], listens_on: str, proxies: int) -> frozenset[str] | None:
    """The names that people use, beside those of the machine itself. None: any, as behind a proxy, which is asked
    under names that are its operator's business, and where other machines can connect anyhow."""
    if hosts:
        return frozenset((*hosts, listens_on.lower()))
    if proxies or not is_loopback(listens_on):
        return None
    return frozenset()
