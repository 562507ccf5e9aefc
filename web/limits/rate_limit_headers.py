"""Tells clients how they stand with the limits: `RateLimit-Policy` and `RateLimit`.

The fields and their parameters are those of draft-ietf-httpapi-ratelimit-headers-11.
"""

from collections.abc import Iterable, Sequence

from flask import Flask, Response, g

from core.limits.rate_limit import Bucket
from core.limits.status import Standing
from web.context import context

_NOTED = "limit_standings"


def note(standings: Iterable[Standing]) -> None:
    """Have the answer to this request tell how its sender stands."""
    g.setdefault(_NOTED, []).extend(standings)


def require(buckets: Sequence[Bucket]) -> None:
    """Charge the buckets, and have the answer tell how they stand. Raises RateLimited or Unavailable."""
    note(context().runtime.limiter.require(buckets).standings)


def register(app: Flask) -> None:
    """Put what was noted into every answer."""
    app.after_request(_announce)


def _announce(response: Response) -> Response:
    standings: list[Standing] = g.get(_NOTED, [])
    if standings:
        response.headers["RateLimit-Policy"] = ", ".join(_policy(standing) for standing in standings)
        response.headers["RateLimit"] = ", ".join(_limit(standing) for standing in standings)
    return response


def _policy(standing: Standing) -> str:
    unit = "" if standing.unit == "requests" else f';qu="{standing.unit}"'
    window = "" if standing.window is None else f";w={standing.window}"
    return f'"{standing.policy}";q={standing.quota}{unit}{window}'


def _limit(standing: Standing) -> str:
    reset = "" if standing.reset is None else f";t={standing.reset}"
    return f'"{standing.policy}";r={standing.remaining}{reset}'
