"""For operators and load balancers."""

from collections.abc import Callable

from flask import Blueprint, Response, jsonify
from redis.exceptions import RedisError

from celery_config import QueueNames
from core.errors import Unavailable
from web import answers
from web.documented import documented
from web.parts import parts

blueprint = Blueprint("ops", __name__)


@blueprint.get("/healthz")
@documented({200: answers.Health}, access="open")
def healthz() -> Response:
    """The process is alive."""
    return jsonify(status="ok")


@blueprint.get("/readyz")
@documented({200: answers.Ready}, access="open")
def readyz() -> Response:
    """The database and Redis answer, and every queue has a consumer; 503 names what is missing."""
    runtime = parts().runtime
    missing = _failing("database", runtime.database.ping)
    redis = _failing("redis", runtime.redis.ping)
    missing += redis
    if not redis:
        missing += [f"consumer of {queue}" for queue in runtime.presence.missing(QueueNames.ALL)]
    if missing:
        raise Unavailable(f"Missing: {', '.join(missing)}.", retry_after=2, missing=missing)
    return jsonify(status="ready")


def _failing(name: str, check: Callable[[], object]) -> list[str]:
    try:
        check()
    except (Unavailable, RedisError):
        return [name]
    return []
