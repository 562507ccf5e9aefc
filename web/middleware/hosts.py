"""Refuses requests for another server's name, so that no page whose name points here can read what is served.

Where the server listens on this machine alone there may be no other wall: what runs here is let do more, and nobody
has to log in to have a model work.
"""

from flask import Flask, request

from core.errors import WrongHost
from core.settings import Settings
from core.text.host_names import is_loopback, is_own


def register(app: Flask, settings: Settings) -> None:
    """Check the name of every request before anything else looks at it, unless any name is right."""
    names = own_names(settings)
    if names is None:
        return

    @app.before_request
    def check() -> None:
        if not is_own(request.environ.get("HTTP_HOST"), names):
            raise WrongHost


def own_names(settings: Settings) -> frozenset[str] | None:
    """The names that people use, beside those of the machine itself. None: any, as behind a proxy, which is asked
    under names that are its operator's business, and where other machines can connect anyhow."""
    if settings.hosts:
        return frozenset((*settings.hosts, settings.host.lower()))
    if settings.trusted_proxies or not is_loopback(settings.host):
        return None
    return frozenset()
