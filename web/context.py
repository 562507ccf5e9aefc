"""What a request's handling works with: the process's services, kept by the Flask application."""

from dataclasses import dataclass
from typing import cast

from flask import Flask, current_app
from prometheus_client import CollectorRegistry

from web.commands import Commands, new_sender
from web.monitoring.metrics import new_registry
from web.monitoring.queue_lengths import Queues
from web.monitoring.readiness import Readiness
from web.monitoring.single_flight import SingleFlight
from web.services import Services
from web.services.options import WebOptions
from web.streaming.hub import Hub
from web.streaming.reader import StreamSources

_EXTENSION = "switchboard"


@dataclass(frozen=True)
class AppContext:
    """The domain and the options; commands to the workers, and announcements from them; what operators ask for."""

    services: Services
    options: WebOptions
    hub: Hub
    commands: Commands
    database_check: SingleFlight[None]
    """Whether the database answers, asked once for all who want to know at the same time."""
    stream_sources: StreamSources
    readiness: Readiness
    metrics: CollectorRegistry


def register(app: Flask, services: Services, options: WebOptions) -> None:
    """Make the context of an application."""
    hub = Hub(services.redis, services.proofs)
    queries = services.session_queries
    readiness_queues, metrics_queues = Queues(options.broker_url), Queues(options.broker_url)
    app.extensions[_EXTENSION] = AppContext(
        services=services,
        options=options,
        hub=hub,
        commands=Commands(new_sender(options.broker_url), hub, services.replies),
        database_check=SingleFlight("database-check", queries.require_database),
        stream_sources=StreamSources(
            hub,
            services.log,
            queries,
            services.proofs,
            services.clock,
            services.counters,
            lambda session_id: services.actions.mark_all_read(session_id),
        ),
        readiness=Readiness(
            queries.require_ready,
            services.redis,
            readiness_queues,
            services.presence,
            services.runs,
            services.installations,
        ),
        metrics=new_registry(services, metrics_queues),
    )


def context() -> AppContext:
    """The current application's context."""
    return context_of(current_app)


def context_of(app: Flask) -> AppContext:
    """The context of an application, also where no request is handled."""
    return cast("AppContext", app.extensions[_EXTENSION])
