"""/config: the models on offer."""

from flask import Blueprint, Response, jsonify

from web.parts import parts
from web.session import switch_model

blueprint = Blueprint("config", __name__, url_prefix="/config")


@blueprint.get("/models")
def models() -> Response:
    """The models on offer."""
    return jsonify(parts().runtime.models.describe())


# The same service call and answers under the older URL.
blueprint.add_url_rule("/models/switch", view_func=switch_model, methods=["POST"])
