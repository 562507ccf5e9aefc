"""The Flask application."""

from collections.abc import Callable

from flask import Flask, Response

from core.operations.preflight.environment import settings_of_process
from core.runtime import Runtime
from core.settings import Settings
from web import context
from web.api import ai_sdk, auth, chat, config, events, openapi, ops, probe, session, sessions, tasks, usage
from web.api.openai import chat_completions
from web.api.openai import conversations as openai_conversations
from web.api.openai import errors as openai_errors
from web.api.openai import models as openai_models
from web.api.openai import responses as openai_responses
from web.auth.client_address import trust_proxies
from web.idempotency import header as idempotency_header
from web.limits import rate_limit_headers
from web.middleware import (
    access_log,
    body_limits,
    cors,
    csrf,
    hosts,
    problems,
    request_ids,
    request_metrics,
    root_path,
    security_headers,
    tracing,
)
from web.openapi.declaration import require_operations
from web.pages import chat as chat_page
from web.pages import docs as docs_page
from web.pages import static_files
from web.services.options import WebOptions
from web.streaming import slots

DATABASE_TIMEOUT = 0.6
"""Seconds for a whole transaction in a process where people wait, so that they are answered within a second."""
REDIS_TIMEOUT = 0.4
"""Seconds that one answer of Redis may take in a process where people wait for it; there is no second try."""

API = (
    *(auth, session, sessions, config, chat, ai_sdk, events, tasks, usage, probe, ops, openapi),
    *(openai_models, openai_responses, openai_conversations, chat_completions),
)
PAGES = (chat_page, docs_page)
PAGE_VIEWS: dict[tuple[str, str], Callable[..., Response]] = {
    ("static", "/static/<path:filename>"): static_files.static,
    ("pages.index", "/"): chat_page.index,
    ("pages.conversation", "/c/<session_id>"): chat_page.conversation,
    ("docs_page.page", "/docs"): docs_page.page,
}
PAGE_ROUTES = tuple(PAGE_VIEWS)
"""What browsers show, by endpoint and path; every other route is an operation of the API."""


def _configured_runtime() -> Runtime:
    settings = settings_of_process()
    return Runtime(
        settings,
        pool_size=settings.database_pool_web,
        redis_retries=0,
        redis_timeout=REDIS_TIMEOUT,
        database_patience=DATABASE_TIMEOUT,
    )


def create_app(runtime: Runtime | None = None) -> Flask:
    """The application over the given runtime, or over one that the environment configures.

    Raises UndeclaredOperation when a route declares no operation. The application is complete then: to add a route,
    a hook or an error handler later raises AssertionError.
    """
    runtime = runtime or _configured_runtime()
    app = Flask(__name__, static_folder=None)
    static_files.register(app)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    settings = runtime.settings
    context.register(app, runtime, _options(settings))
    runtime.models  # noqa: B018  read models.toml now: a broken one must stop the start, not a request
    trust_proxies(app, settings.trusted_proxies)
    root_path.register(app, settings.root_path)
    # In the order in which requests meet them; the security headers are added to what any of them refuses, too.
    request_ids.register(app)
    access_log.register(app)
    request_metrics.register(app, runtime.counters)
    if settings.tracing != "off":
        tracing.register(app)
    body_limits.register(app)
    hosts.register(app, hosts.own_names(settings.hosts, settings.host, settings.trusted_proxies))
    cors.register(app)
    csrf.register(app)
    security_headers.register(app)
    rate_limit_headers.register(app)
    slots.register(app)
    idempotency_header.register(app, runtime.limits_redis)
    openai_errors.register(app)
    modules = [*API, *PAGES]
    if settings.oidc_login:
        from web.api import oidc  # loads Authlib, which other installations don't need

        modules.append(oidc)
    for module in modules:
        app.register_blueprint(module.blueprint)
    problems.register(app)
    require_operations(app, PAGE_VIEWS)
    app._got_first_request = True  # Flask's own mark: from here on its setup methods refuse
    return app


def _options(settings: Settings) -> WebOptions:
    return WebOptions(
        auto_create=settings.auto_create,
        anonymous_max=settings.anonymous_max,
        user_max=settings.user_max,
        registration=settings.registration,
        oidc_issuer=settings.oidc_issuer if settings.oidc_login else None,
        cors_origins=settings.cors_origins,
        trusted_proxies=settings.trusted_proxies,
        metrics_token=settings.metrics_token,
        reply_wait=settings.reply_wait,
        limit_changes=settings.limit_changes,
        limit_read=settings.limit_read,
        limit_export=settings.limit_export,
        limit_idempotency=settings.limit_idempotency,
        limit_login=settings.limit_login,
        broker_url=settings.broker_url,
    )
