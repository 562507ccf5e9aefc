"""What a request's handling works with: the process's services, kept by the Flask application."""

from dataclasses import dataclass
from typing import cast

from flask import Flask, current_app
from prometheus_client import CollectorRegistry

from core.runtime import Runtime
from web.commands import Commands, new_sender
from web.monitoring.metrics import new_registry
from web.monitoring.queue_lengths import Queues
from web.monitoring.readiness import Readiness
from web.streaming.hub import Hub
from web.streaming.reader import StreamSources

_EXTENSION = "switchboard"


@dataclass(frozen=True)
class AppContext:
    """The domain; commands to the workers, and announcements from them; what operators ask for."""

    runtime: Runtime
    hub: Hub
    commands: Commands
    stream_sources: StreamSources
    readiness: Readiness
    metrics: CollectorRegistry


def register(app: Flask, runtime: Runtime) -> None:
    """Make the context of an application over the runtime."""
    hub = Hub(runtime.redis, runtime.proofs)
    broker_url = runtime.settings.broker_url
    app.extensions[_EXTENSION] = AppContext(
        runtime=runtime,
        hub=hub,
        commands=Commands(new_sender(broker_url), hub, runtime.replies),
        stream_sources=StreamSources(hub, runtime.log, runtime.session_queries, runtime.proofs, runtime.clock),
        readiness=Readiness(runtime.database.ping, runtime.redis, Queues(broker_url), runtime.presence, runtime.runs),
        metrics=new_registry(runtime),
    )


def context() -> AppContext:
    """The current application's context."""
    return context_of(current_app)


def context_of(app: Flask) -> AppContext:
    """The context of an application, also where no request is handled."""
    return cast("AppContext", app.extensions[_EXTENSION])
