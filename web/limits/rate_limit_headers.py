"""Tells clients how they stand with the limits: `RateLimit-Policy` and `RateLimit`.

The fields and their parameters are those of draft-ietf-httpapi-ratelimit-headers-11.
"""

from collections.abc import Iterable, Sequence

from flask import Flask, Response, g

from core.limits.rate_limit import Bucket
from core.limits.status import LimitStatus
from web.context import context

_NOTED = "limit_standings"


def note(limit_statuses: Iterable[LimitStatus]) -> None:
    """Have the answer to this request tell how its sender stands."""
    g.setdefault(_NOTED, []).extend(limit_statuses)


def require(buckets: Sequence[Bucket]) -> None:
    """Charge the buckets, and have the answer tell how they stand. Raises RateLimited or Unavailable."""
    note(context().services.limiter.require(buckets).limit_statuses)


def register(app: Flask) -> None:
    """Put what was noted into every answer."""
    app.after_request(_announce)


def _announce(response: Response) -> Response:
    limit_statuses: list[LimitStatus] = g.get(_NOTED, [])
    if limit_statuses:
        response.headers["RateLimit-Policy"] = ", ".join(_policy(limit_status) for limit_status in limit_statuses)
        response.headers["RateLimit"] = ", ".join(_limit(limit_status) for limit_status in limit_statuses)
    return response


def _policy(limit_status: LimitStatus) -> str:
    unit = "" if limit_status.unit == "requests" else f';qu="{limit_status.unit}"'
    window = "" if limit_status.window is None else f";w={limit_status.window}"
    return f'"{limit_status.policy}";q={limit_status.quota}{unit}{window}'


def _limit(limit_status: LimitStatus) -> str:
    reset = "" if limit_status.reset is None else f";t={limit_status.reset}"
    return f'"{limit_status.policy}";r={limit_status.remaining}{reset}'
