"""Health, readiness and metrics, for operators and load balancers."""

from flask import Blueprint, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from core.errors import Unavailable
from web.api.operation import operation
from web.auth.access import OPERATOR, PUBLIC
from web.context import context
from web.schemas import responses

blueprint = Blueprint("ops", __name__)


@blueprint.get("/healthz")
@operation(access=PUBLIC, answers={200: responses.Health})
def healthz() -> responses.Health:
    """Check that the process is alive."""
    return responses.Health(status="ok")


@blueprint.get("/readyz")
@operation(access=PUBLIC, answers={200: responses.Ready}, raises=(Unavailable,))
def readyz() -> responses.Ready:
    """Check that the service is ready: the database, Redis and the broker answer, every queue has a consumer, and
    what runs on a schedule does run. A 503 names what is missing."""
    missing = context().readiness.missing()
    if missing:
        raise Unavailable(f"Missing: {', '.join(missing)}.", retry_after=2, missing=missing)
    return responses.Ready(status="ready")


@blueprint.get("/metrics")
@operation(access=OPERATOR, answers={200: "text/plain"})
def metrics() -> Response:
    """Read the system's metrics, for Prometheus.

    For the operator: from the server's own machine without a proxy in between, or with `Authorization: Bearer` and
    the operator's token. No session is looked at.
    """
    return Response(generate_latest(context().metrics), content_type=CONTENT_TYPE_PLAIN_0_0_4)
