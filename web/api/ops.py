"""For operators and load balancers."""

from flask import Blueprint, Response, jsonify
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from core.errors import Unavailable
from web.auth.operator import require_operator
from web.context import context
from web.errors import OperatorOnly
from web.openapi.operation import documented
from web.schemas import responses

blueprint = Blueprint("ops", __name__)


@blueprint.get("/healthz")
@documented({200: responses.Health}, access="open")
def healthz() -> Response:
    """The process is alive."""
    return jsonify(status="ok")


@blueprint.get("/readyz")
@documented({200: responses.Ready}, access="open")
def readyz() -> Response:
    """The database, Redis and the broker answer, every queue has a consumer, and what runs on a schedule does run;
    503 names what is missing."""
    missing = context().readiness.missing()
    if missing:
        raise Unavailable(f"Missing: {', '.join(missing)}.", retry_after=2, missing=missing)
    return jsonify(status="ready")


@blueprint.get("/metrics")
@documented({200: "text/plain"}, access="open", raises=(OperatorOnly,))
def metrics() -> Response:
    """How the system is doing, for Prometheus.

    For whoever runs the server: asked from its own machine without a proxy in between, or with
    `Authorization: Bearer` and the token that the operator has set. It does not look at anybody's session.
    """
    require_operator()
    return Response(generate_latest(context().metrics), content_type=CONTENT_TYPE_PLAIN_0_0_4)
