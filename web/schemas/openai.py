"""The JSON of OpenAI's API, as far as it is spoken here."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from web.schemas.responses import Answer

MAX_TOKENS = 2**31 - 1


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""Of integers: JSON has one kind of number, and 5.0 is 5, as some clients write it."""
Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS), WHOLE]
"""How many an answer may have."""


def unsupported() -> PydanticCustomError:
    """Of a field's value that would change what an answer is."""
    return PydanticCustomError("unsupported", "this is not supported here; leave it out")


NOTHING: list[Any] = [None, False, 0, "none", [], {}]
"""What asks for nothing, and is as good as left out."""


def _refused(value: Any) -> Any:
    if value not in NOTHING:
        raise unsupported()
    return value


Unsupported = Annotated[Any, AfterValidator(_refused), WithJsonSchema({"enum": NOTHING})]
"""A field that changes what an answer is: it is refused rather than passed over."""


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
