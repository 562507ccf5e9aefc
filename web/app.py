"""The Flask application."""

from celery import Celery
from flask import Flask

from core.runtime import Runtime
from core.settings import Settings
from web.api import auth, chat, config, events, ops, probe, session, sessions, tasks
from web.auth.client_address import trust_proxies
from web.commands import Commands
from web.context import KEY, Parts
from web.idempotency.records import Idempotency
from web.limits import rate_limit_headers
from web.middleware import body_limits, problems, security_headers
from web.pages import chat as chat_page
from web.pages import docs
from web.schemas.requests import MAX_BODY
from web.streaming import slots
from web.streaming.hub import Hub

DATABASE_TIMEOUT = 0.6
"""Seconds for a whole transaction in a process where people wait, so that they are answered within a second."""
REDIS_TIMEOUT = 0.4
"""Seconds that one answer of Redis may take in a process where people wait for it; there is no second try."""
SEND_TIMEOUT = 0.3
"""Seconds to reach the broker, and that each of its answers may take: a request that can't be queued is to be
answered within half a second, which leaves no time for a second try."""


def create_app(runtime: Runtime | None = None) -> Flask:
    """The application over the given parts, or over those that the environment configures."""
    runtime = runtime or Runtime(
        Settings(), redis_retries=0, redis_timeout=REDIS_TIMEOUT, database_patience=DATABASE_TIMEOUT
    )
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.json.sort_keys = False  # type: ignore[attr-defined]
    hub = Hub(runtime.redis, runtime.proofs)
    commands = Commands(_sender(runtime.settings), hub, runtime.replies)
    app.extensions[KEY] = Parts(runtime, hub, commands, Idempotency(runtime.limits_redis))
    runtime.models  # noqa: B018  read models.toml now: a broken one must stop the start, not a request
    trust_proxies(app, runtime.settings.trusted_proxies)
    body_limits.register(app)
    security_headers.register(app, runtime.settings)
    rate_limit_headers.register(app)
    slots.register(app)
    for module in (auth, session, sessions, config, chat, tasks, probe, ops, docs):
        app.register_blueprint(module.blueprint)
    if runtime.settings.oidc_login:
        from web.api import oidc

        app.register_blueprint(oidc.blueprint)
    app.register_blueprint(events.events)
    app.register_blueprint(chat_page.pages)
    problems.register(app)
    return app


def _sender(settings: Settings) -> Celery:
    """A Celery application that only sends; the tasks are the workers'."""
    celery = Celery("switchboard-web", set_as_current=False)
    celery.config_from_object("celery_config")
    celery.conf.broker_url = settings.broker_url
    celery.conf.task_publish_retry_policy = {"max_retries": 0}
    # In a new dictionary: the old one is celery_config's own, which is everybody's in this process.
    celery.conf.broker_transport_options = {
        **celery.conf.broker_transport_options,
        "max_retries": 0,
        "socket_timeout": SEND_TIMEOUT,
        "socket_connect_timeout": SEND_TIMEOUT,
    }
    return celery
