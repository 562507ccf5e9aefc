"""/config: the models on offer."""

from flask import Blueprint

from core.errors import Unavailable
from web.api.operation import operation
from web.api.session import switch_model
from web.auth.access import PUBLIC
from web.context import context
from web.schemas import responses

blueprint = Blueprint("config", __name__, url_prefix="/config")


@blueprint.get("/models")
@operation(access=PUBLIC, answers={200: responses.Models})
def models() -> responses.Models:
    """List the models on offer."""
    services = context().services
    try:
        unwell = services.cooldowns.in_cooldown(services.models.names)
    except Unavailable:  # nothing is known of any model's health: then all are offered
        unwell = set()
    return responses.Models(**services.models.describe(unwell))


# The older URL of the same operation.
blueprint.add_url_rule("/models/switch", view_func=switch_model, methods=["POST"])
