"""What a request's handling works with: the process's services, kept by the Flask application."""

from dataclasses import dataclass
from typing import cast

from flask import Flask, current_app

from core.runtime import Runtime
from web.commands import Commands
from web.idempotency.records import Idempotency
from web.streaming.hub import Hub

EXTENSION = "switchboard"
"""The context's name among the application's extensions."""


@dataclass(frozen=True)
class AppContext:
    """The domain, the two ways to the workers (commands out, announcements in), and the requests that come twice."""

    runtime: Runtime
    hub: Hub
    commands: Commands
    idempotency: Idempotency


def context() -> AppContext:
    """The current application's context."""
    return context_of(current_app)


def context_of(app: Flask) -> AppContext:
    """The context of an application, also where no request is handled."""
    return cast("AppContext", app.extensions[EXTENSION])
