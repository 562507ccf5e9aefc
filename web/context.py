"""What the handlers work with: the process's parts, kept by the application."""

from dataclasses import dataclass
from typing import cast

from flask import current_app

from core.runtime import Runtime
from web.commands import Commands
from web.idempotency.records import Idempotency
from web.streaming.hub import Hub

KEY = "switchboard"


@dataclass(frozen=True)
class Parts:
    """The domain, the two ways to the workers (commands out, announcements in), and the requests that come twice."""

    runtime: Runtime
    hub: Hub
    commands: Commands
    idempotency: Idempotency


def parts() -> Parts:
    """The current application's parts."""
    return cast("Parts", current_app.extensions[KEY])
