"""/v1/models: the models on offer, as OpenAI's API lists them."""

from flask import Blueprint

from core.errors import UnknownModel
from web.api.openai.errors import SHAPE
from web.api.operation import operation
from web.auth.access import USER
from web.context import context
from web.schemas import openai

blueprint = Blueprint("openai_models", __name__, url_prefix="/v1/models")


@blueprint.get("")
@operation(access=USER, answers={200: openai.OpenAIModels}, errors_as=SHAPE)
def models() -> openai.OpenAIModels:
    """List the models on offer, for OpenAI's clients."""
    return openai.OpenAIModels(object="list", data=list(_offered().values()))


@blueprint.get("/<path:name>")
@operation(access=USER, answers={200: openai.OpenAIModel}, raises=(UnknownModel,), errors_as=SHAPE)
def model(name: str) -> openai.OpenAIModel:
    """Tell of one model on offer, for OpenAI's clients."""
    offered = _offered().get(name)
    if offered is None:
        raise UnknownModel(field="model")
    return offered


def _offered() -> dict[str, openai.OpenAIModel]:
    return {
        each["name"]: openai.OpenAIModel(
            id=each["name"],
            object="model",
            created=0,
            owned_by=each["provider"],
            name=each["label"],
            context_length=each["context_tokens"],
        )
        for each in context().services.models.describe()["models"]
    }
