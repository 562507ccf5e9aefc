"""What a request's handling works with: the process's services, kept by the Flask application."""

from dataclasses import dataclass
from typing import cast

from flask import Flask, current_app
from prometheus_client import CollectorRegistry

from core.runtime import Runtime
from web.commands import Commands
from web.monitoring.readiness import Readiness
from web.streaming.hub import Hub
from web.streaming.reader import StreamSources

EXTENSION = "switchboard"
"""The context's name among the application's extensions."""


@dataclass(frozen=True)
class AppContext:
    """The domain; commands to the workers, and announcements from them; what operators ask for."""

    runtime: Runtime
    hub: Hub
    commands: Commands
    stream_sources: StreamSources
    readiness: Readiness
    metrics: CollectorRegistry


def context() -> AppContext:
    """The current application's context."""
    return context_of(current_app)


def context_of(app: Flask) -> AppContext:
    """The context of an application, also where no request is handled."""
    return cast("AppContext", app.extensions[EXTENSION])
