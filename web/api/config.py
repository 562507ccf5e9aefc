"""/config: the models on offer."""

from flask import Blueprint, Response, jsonify

from core.errors import Unavailable
from web.api.session import switch_model
from web.context import parts
from web.openapi.operation import documented
from web.schemas import responses

blueprint = Blueprint("config", __name__, url_prefix="/config")


@blueprint.get("/models")
@documented({200: responses.Models}, access="open")
def models() -> Response:
    """The models on offer."""
    runtime = parts().runtime
    try:
        unwell = runtime.cooldowns.resting(runtime.models.names)
    except Unavailable:  # nothing is known of anybody's health: then all are offered
        unwell = set()
    return jsonify(runtime.models.describe(unwell))


# The same service call and answers under the older URL.
blueprint.add_url_rule("/models/switch", view_func=switch_model, methods=["POST"])
