"""What the web process is told of its configuration: the few settings that handling a request depends on.

`web/app.py` makes them of the settings once, when the application is created.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from pydantic import SecretStr

from core.limits.rate import Rate


@dataclass(frozen=True)
class WebOptions:
    """The options. A limit of None is switched off. docs/operations.md describes each under its variable."""

    auto_create: Literal["on_message", "on_stream", "never"]
    """Which request without a session has one created for it."""
    anonymous_max: timedelta
    """How long an anonymous session's cookie is kept."""
    user_max: timedelta
    """How long a login's cookie is kept, and that of a user's session."""
    registration: Literal["open", "closed"]
    """Whether accounts can be made here."""
    oidc_issuer: str | None
    """The URL of the identity provider, if browsers can log in through one."""
    cors_origins: Collection[str]
    """The other origins whose pages may use the API."""
    trusted_proxies: int
    """How many entries of X-Forwarded-For to believe."""
    metrics_token: SecretStr | None
    """The token that opens /metrics from other machines."""
    reply_wait: timedelta
    """How long a request waits for a worker's reply before it is answered with 202."""
    limit_changes: Rate | None
    """Changes of each kind, per session owner."""
    limit_read: Rate | None
    """Pages of messages, per session owner."""
    limit_export: Rate | None
    """Exports, per session owner."""
    limit_idempotency: Rate | None
    """Requests under a new idempotency key, per sender."""
    limit_login: Rate | None
    """Attempts to log in, per account and per address."""
    broker_url: str = field(repr=False)
    """Where commands to the workers are sent, in kombu's spelling. It may hold a password."""
