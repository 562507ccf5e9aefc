"""The JSON of OpenAI's API, as far as it is spoken here."""

from typing import Literal

from pydantic import Field

from web.schemas.responses import Answer


class OpenAIModel(Answer):
    """A model on offer, as OpenAI's API has it."""

    id: str
    object: Literal["model"]
    created: int = Field(description="Always 0: models have no date here.")
    owned_by: str = Field(description="The protocol of the model's server.")
    name: str = Field(description="What people call the model.")
    context_length: int = Field(description="How many tokens a conversation and its answer may have.")


class OpenAIModels(Answer):
    """The models on offer, as OpenAI's API has them."""

    object: Literal["list"]
    data: list[OpenAIModel]
